/**
 * A walk over SQL text that knows where strings, quoted names and comments are, so that `{name:Type}`, `;` and
 * keywords inside them are left alone. It knows ClickHouse's and PostgreSQL's quoting: '…', "…", `…`, $tag$…$tag$,
 * `-- …`, and block comments.
 */

/** A piece of SQL: `code` is live text, `quoted` a string or quoted name with its quotes, `comment` a comment. */
export interface SqlPiece {
  kind: 'code' | 'quoted' | 'comment';
  text: string;
}

const BACKSLASH_ESCAPES = /'(?:[^'\\]|\\[\s\S]|'')*'|"(?:[^"\\]|\\[\s\S]|"")*"|`(?:[^`\\]|\\[\s\S]|``)*`/y;
const DOUBLED_QUOTES = /'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$[\s\S]*?\$\1\$/y;
const COMMENT = /--[^\n]*|\/\*[\s\S]*?\*\//y;

/**
 * Splits a statement into live text, quoted text and comments; joined again they are the input.
 *
 * @throws TypeError when a string, quoted name or block comment is not closed
 */
export function sqlPieces(sql: string, dialect: 'clickhouse' | 'postgres' = 'clickhouse'): SqlPiece[] {
  const quoted = dialect === 'clickhouse' ? BACKSLASH_ESCAPES : DOUBLED_QUOTES;
  const opener = dialect === 'clickhouse' ? /['"`]|--|\/\*/g : /['"]|\$\w*\$|--|\/\*/g;
  const pieces: SqlPiece[] = [];
  let at = 0;
  while (at < sql.length) {
    opener.lastIndex = at;
    const found = opener.exec(sql);
    const start = found ? found.index : sql.length;
    if (start > at) pieces.push({ kind: 'code', text: sql.slice(at, start) });
    if (!found) break;
    const isComment = found[0] === '--' || found[0] === '/*';
    const pattern = isComment ? COMMENT : quoted;
    pattern.lastIndex = start;
    const text = pattern.exec(sql)?.[0];
    if (text === undefined) throw new TypeError(`Unclosed ${found[0]} in SQL at character ${start}`);
    pieces.push({ kind: isComment ? 'comment' : 'quoted', text });
    at = start + text.length;
  }
  return pieces;
}

/** Cuts a script into its statements at every `;` outside strings and comments; empty ones are left out. */
export function splitStatements(script: string, dialect: 'clickhouse' | 'postgres' = 'clickhouse'): string[] {
  const statements = [''];
  for (const piece of sqlPieces(script, dialect)) {
    if (piece.kind === 'comment') continue;
    const parts = piece.kind === 'code' ? piece.text.split(';') : [piece.text];
    statements[statements.length - 1] += parts[0];
    statements.push(...parts.slice(1));
  }
  return statements.map((statement) => statement.trim()).filter((statement) => statement !== '');
}
