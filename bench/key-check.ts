import { hash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { identitiesOf } from '../src/access/access.module.js';
import { AccessTokens } from '../src/access/access-token.js';
import { makeFirstAdmin } from '../src/access/first-start.js';
import { Sessions } from '../src/access/sessions.js';
import { Credentials } from '../src/edge/credentials.js';
import { createApiKey } from '../src/tenants/api-key.js';
import { hashPassword, verifyPassword } from '../src/tenants/password.js';
import { AuditList, newCache, openAccessDatabase } from '../test/support/access-database.js';

/*
 * What it costs to know who sends a request: `node scripts/run.cjs program bench/key-check.js`. On the embedded PostgreSQL, in one
 * process, one request after the other.
 */
const KEYS = 2000;
const ROUNDS = 300_000;

const folder = mkdtempSync(join(tmpdir(), 'telemetryflow-bench-'));
const { postgres, scope } = await openAccessDatabase(folder);
const source = postgres.dataSource;
const tokens = new AccessTokens(Buffer.alloc(32, 1));
const audit = new AuditList();
const admin = (await makeFirstAdmin(source, scope, audit))!;
const keys: string[] = [];
for (let index = 0; index < KEYS; index++) {
  const made = await createApiKey(source, {
    tenantId: scope.tenantId,
    name: `${index}`,
    permissions: ['ingest'],
    createdBy: 'bench',
  });
  keys.push(made.key);
}
let queries = 0;
const query = source.query.bind(source);
source.query = (...args) => {
  queries++;
  return query(...args);
};
const identities = identitiesOf(source, newCache(), tokens, () => undefined);
const credentials = new Credentials(identities, scope, 'off');
const origin = { remoteAddress: undefined, userAgent: undefined, correlationId: '' };
const login = await new Sessions(source, tokens, audit, () => undefined).login(
  admin.email,
  admin.password,
  origin,
);

async function measure(what: string, work: (index: number) => unknown, rounds = ROUNDS): Promise<void> {
  for (let index = 0; index < rounds / 10; index++) await work(index);
  const before = queries;
  const startedAt = performance.now();
  for (let index = 0; index < rounds; index++) await work(index);
  const tookMs = performance.now() - startedAt;
  const each = ((tookMs * 1000) / rounds).toFixed(rounds < 1000 ? 0 : 2);
  console.log(
    `${what.padEnd(48)} ${each.padStart(9)} us  ${queries - before} queries in ${(tookMs / 1000).toFixed(1)} s`,
  );
}

let sink = 0;
await measure('the SHA-256 of a key alone', () => {
  sink += hash('sha256', keys[0], 'base64').length;
});
await measure('find, one known key', () => identities.find(keys[0], undefined));
await measure(`find, ${KEYS} known keys in turn`, (index) => identities.find(keys[index % KEYS], undefined));
await measure('find, a known login', () => identities.find(login.access_token, undefined));
const headers = { 'x-api-key': keys[0] };
await measure('Credentials.resolve, one known key', () =>
  credentials.resolve({ headers, remoteAddress: undefined }),
);
await measure(
  'a key that is looked up',
  (index) => identitiesOf(source, newCache(), tokens, () => undefined).find(keys[index % KEYS], undefined),
  500,
);
const hashed = await hashPassword(admin.password);
await measure('a password (Argon2id)', () => verifyPassword(hashed, admin.password), 50);
if (sink === 0) throw new Error('nothing was measured');
await postgres.close();
rmSync(folder, { recursive: true, force: true });
