import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TENANT_A, TENANT_B } from '../../test/support/telemetry-store.js';
import { HOUR_MS } from './rollup-plan.js';
import { TouchedHours } from './touched-hours.js';

function setUp() {
  const statements: string[] = [];
  let isAway = false;
  const touched = new TouchedHours({
    insertValues: async (sql) => {
      if (isAway) throw new Error('away');
      statements.push(sql);
    },
  });
  return {
    touched,
    statements,
    away: (now: boolean) => {
      isAway = now;
    },
  };
}

describe('Notes of touched hours', () => {
  it('an hour of a tenant is noted once for all inserts of the same half minute, with the hour after it', async () => {
    const { touched, statements } = setUp();
    for (let times = 0; times < 5; times++) await touched.note(TENANT_A, [0]);
    assert.equal(statements.length, 1);
    assert.match(statements[0], /'org', 'ws', 'a', toDateTime\(arrayJoin\(\[0, 3600\]\)/);
    await touched.note(TENANT_B, [0]);
    await touched.note(TENANT_A, [0, 5 * HOUR_MS]);
    assert.match(statements[2], /\[18000, 21600\]/);
    assert.equal(statements.length, 3);
  });

  it('a note that failed is made again', async () => {
    const { touched, statements, away } = setUp();
    away(true);
    await assert.rejects(touched.note(TENANT_A, [0]), /away/);
    assert.deepEqual(statements, []);
    away(false);
    await touched.note(TENANT_A, [0]);
    assert.equal(statements.length, 1);
  });

  it('without rows nothing is noted', async () => {
    const { touched, statements } = setUp();
    await touched.note(TENANT_A, []);
    assert.deepEqual(statements, []);
  });
});
