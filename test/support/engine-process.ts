import { text } from 'node:stream/consumers';
import { Session } from 'chdb';

/** Runs the statements on stdin (one JSON array) in the data folder that is the argument; prints the rows of each, as one JSON array of texts. */
const [directory, database] = process.argv.slice(2);
const statements = JSON.parse(await text(process.stdin)) as string[];
const session = new Session(directory);
session.query(`CREATE DATABASE IF NOT EXISTS ${database}`);
session.query(`USE ${database}`);
session.query('SET output_format_json_quote_64bit_integers = 0');
const answers = statements.map((statement) => session.query(statement, 'JSONEachRow'));
session.close();
process.stdout.write(JSON.stringify(answers));
