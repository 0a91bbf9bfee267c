import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { bindParameters, readStatement, settingList } from '../connections/clickhouse-statement.js';
import { splitStatements, sqlPieces } from './sql-text.js';

describe('splitStatements', () => {
  it('cuts at semicolons outside strings, names and comments, and drops comments', () => {
    const script = `-- first; not a statement
      CREATE TABLE a (s String DEFAULT ';', \`odd;name\` UInt8); /* ; */
      INSERT INTO a VALUES ('it''s; \\'quoted\\'', 1);
      ;
      SELECT 1 -- the last has no semicolon`;
    assert.deepEqual(splitStatements(script), [
      "CREATE TABLE a (s String DEFAULT ';', `odd;name` UInt8)",
      "INSERT INTO a VALUES ('it''s; \\'quoted\\'', 1)",
      'SELECT 1',
    ]);
  });

  it('knows PostgreSQL’s dollar quotes and that a backslash there is no escape', () => {
    const script = "DO $body$ BEGIN; END; $body$; SELECT 'back\\'; SELECT $$;$$";
    assert.deepEqual(splitStatements(script, 'postgres'), [
      'DO $body$ BEGIN; END; $body$',
      "SELECT 'back\\'",
      'SELECT $$;$$',
    ]);
  });

  it('refuses what is not closed', () => {
    assert.throws(() => splitStatements("SELECT 'open"), /Unclosed ' in SQL at character 7/);
    assert.throws(() => splitStatements('SELECT /* open'), TypeError);
  });

  it('loses nothing: the pieces together are the text', () => {
    const text = fc.string({
      unit: fc.constantFrom("'", '"', '`', '\\', '{', '}', ':', ';', '-', '/', '*', 'a', '\n'),
    });
    fc.assert(
      fc.property(text, (sql) => {
        let pieces: string;
        try {
          pieces = sqlPieces(sql)
            .map((piece) => piece.text)
            .join('');
        } catch (error) {
          return error instanceof TypeError;
        }
        return pieces === sql;
      }),
      { numRuns: 2000 },
    );
  });
});

describe('bindParameters', () => {
  it('casts values from text, so that no value becomes SQL', () => {
    const sql = "SELECT {a:String}, {b:UInt64}, {c:DateTime64(3, 'UTC')}, {d:Array(String)}, '{a:String}'";
    const values = { a: "x' OR 1 --", b: 5, c: new Date(1500), d: ["]'"] };
    assert.equal(
      bindParameters(sql, values),
      "SELECT 'x\\' OR 1 --', _CAST('5', 'UInt64'), _CAST('1.500', 'DateTime64(3, \\'UTC\\')'), " +
        "_CAST([']\\''], 'Array(String)'), '{a:String}'",
    );
  });

  it('quotes identifiers', () => {
    assert.equal(bindParameters('SELECT {c:Identifier}', { c: 'a`b\\' }), 'SELECT `a\\`b\\\\`');
  });

  it('wants a value for every place, and does not look for it in the prototype', () => {
    assert.throws(() => bindParameters('SELECT {a:String}', {}), /\{a:String\} has no value/);
    assert.throws(() => bindParameters('SELECT {constructor:String}', {}), TypeError);
  });

  it('leaves braces that open no parameter alone', () => {
    assert.equal(bindParameters("SELECT map('a', 1) {x}"), "SELECT map('a', 1) {x}");
  });
});

describe('settings', () => {
  it('are quoted, and those of the HTTP layer left out', () => {
    const settings = {
      max_threads: 2,
      log_comment: "it's",
      wait_end_of_query: 1,
      optimize: true,
      unset: undefined,
    };
    assert.deepEqual(
      settingList(settings).map(({ sql }) => sql),
      ['max_threads = 2', "log_comment = 'it\\'s'", 'optimize = 1'],
    );
    assert.throws(() => settingList({ 'a = 1, readonly': 0 }), TypeError);
  });

  it('cannot turn a read’s readonly off by an odd statement', () => {
    assert.equal(readStatement('SELECT 1', {}, { a: 1 }), 'SELECT 1\nSETTINGS readonly = 1, a = 1');
    for (const sql of [
      'SELECT 1 settings readonly=0',
      '-- SELECT\nDROP TABLE a',
      '/* */ ; SELECT 1',
      'selectx',
    ]) {
      assert.throws(() => readStatement(sql, {}, {}), TypeError, sql);
    }
    assert.ok(readStatement("SELECT ';', 'SETTINGS', `file`", {}, {}));
    assert.ok(readStatement('(SELECT 1) UNION ALL (SELECT 2)', {}, {}));
  });
});
