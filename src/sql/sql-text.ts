/**
 * A walk over SQL text that knows where strings, quoted names and comments are, so that `{name:Type}`, `;` and
 * keywords inside them are left alone. It knows ClickHouse's and PostgreSQL's quoting: '…', "…", `…`, $tag$…$tag$,
 * `-- …`, and block comments.
 */

/**
 * A piece of SQL: `code` is live text, `quoted` a string or quoted name with its quotes, `comment` a comment,
 * `place` a parameter's `{name:Type}`.
 */
export interface SqlPiece {
  kind: 'code' | 'quoted' | 'comment' | 'place';
  text: string;
}

export type Dialect = 'clickhouse' | 'postgres';

const BACKSLASH_ESCAPES = /'(?:[^'\\]|\\[\s\S]|'')*'|"(?:[^"\\]|\\[\s\S]|"")*"|`(?:[^`\\]|\\[\s\S]|``)*`/y;
const DOUBLED_QUOTES = /'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$/y;
/** The type may have strings in it: `DateTime64(3, 'UTC')`. */
const PLACE = /\{\s*\w+\s*:[^{}]*\}/y;
const COMMENT = /--[^\n]*|\/\*[\s\S]*?\*\//y;

const OPENERS = { clickhouse: /['"`{]|--|\/\*/g, postgres: /['"]|\$\w*\$|--|\/\*/g };

/** The piece that starts with `opener` at `start`. A brace that opens no parameter is live text. */
function pieceAt(sql: string, start: number, opener: string, dialect: Dialect): SqlPiece {
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = start;
    return pattern.exec(sql)?.[0];
  };
  if (opener === '{') {
    const place = match(PLACE);
    return place === undefined ? { kind: 'code', text: '{' } : { kind: 'place', text: place };
  }
  const isComment = opener === '--' || opener === '/*';
  const text = match(isComment ? COMMENT : dialect === 'clickhouse' ? BACKSLASH_ESCAPES : DOUBLED_QUOTES);
  if (text === undefined) throw new TypeError(`Unclosed ${opener} in SQL at character ${start}`);
  return { kind: isComment ? 'comment' : 'quoted', text };
}

/**
 * Splits a statement into live text, quoted text, comments and parameters' places; joined again they are the input.
 *
 * @throws TypeError when a string, quoted name or block comment is not closed
 */
export function sqlPieces(sql: string, dialect: Dialect = 'clickhouse'): SqlPiece[] {
  const opener = OPENERS[dialect];
  const pieces: SqlPiece[] = [];
  let at = 0;
  while (at < sql.length) {
    opener.lastIndex = at;
    const found = opener.exec(sql);
    const start = found ? found.index : sql.length;
    if (start > at) pieces.push({ kind: 'code', text: sql.slice(at, start) });
    if (!found) break;
    const piece = pieceAt(sql, start, found[0], dialect);
    pieces.push(piece);
    at = start + piece.text.length;
  }
  return pieces;
}

/** Cuts a script into its statements at every `;` outside strings and comments; empty ones are left out. */
export function splitStatements(script: string, dialect: Dialect = 'clickhouse'): string[] {
  const statements = [''];
  for (const piece of sqlPieces(script, dialect)) {
    if (piece.kind === 'comment') continue;
    const parts = piece.kind === 'code' ? piece.text.split(';') : [piece.text];
    statements[statements.length - 1] += parts[0];
    statements.push(...parts.slice(1));
  }
  return statements.map((statement) => statement.trim()).filter((statement) => statement !== '');
}
