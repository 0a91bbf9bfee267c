import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadConfig } from '../config.js';
import { StartupError } from '../errors.js';
import { accessCommand, expiryOf, permissionsOf } from './access.js';

describe('The words of the key commands', () => {
  it('permissions are named with commas, and a wrong one is told with those there are', () => {
    assert.deepEqual(permissionsOf('ingest, read'), ['ingest', 'read']);
    for (const text of ['', 'ingest,', 'all', 'Read'])
      assert.throws(() => permissionsOf(text), /expected one or more of ingest, read, write, admin/);
  });

  it('times are minutes, hours or days from now', () => {
    assert.equal(expiryOf('30m', 0).getTime(), 30 * 60_000);
    assert.equal(expiryOf('12h', 5).getTime(), 12 * 3_600_000 + 5);
    assert.equal(expiryOf('90d', 0).getTime(), 90 * 86_400_000);
    for (const text of ['', '0d', '90', 'd', '-1d', '1.5h', '1y', '1000000d'])
      assert.throws(() => expiryOf(text, 0), /expected a time such as 30m, 12h or 90d/, text);
  });

  it('anything else is refused before a database is opened', async () => {
    const config = loadConfig({ DATA_DIR: '/nowhere' });
    const wrong = [
      ['keys'],
      ['keys', 'rotate'],
      ['users', 'list'],
      ['keys', 'create', '--permission', 'read'],
      ['keys', 'create', 'x'],
      ['keys', 'create', '--name', ''],
      ['keys', 'list', 'x'],
      ['keys', 'revoke'],
      ['keys', 'revoke', 'a', 'b'],
      ['users', 'reset-password'],
    ];
    for (const [room, ...args] of wrong) {
      await assert.rejects(
        () => accessCommand(config, room, args),
        (error) => error instanceof StartupError && error.message.includes('telemetryflow keys revoke <id'),
        args.join(' '),
      );
    }
  });

  it('without a server that has made the tables, it says so', async () => {
    const config = loadConfig({ DATA_DIR: '/nowhere' });
    await assert.rejects(() => accessCommand(config, 'keys', ['list']), /Start the server on it once/);
  });
});
