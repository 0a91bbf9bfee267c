import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AppError } from '../errors.js';
import { TenantTurns } from './tenant-turns.js';

/** Work that ends when it is told to. */
class Work {
  readonly begun: string[] = [];
  private readonly ends = new Map<string, () => void>();

  constructor(private readonly turns: TenantTurns) {}

  ask(tenant: string, name: string, signal?: AbortSignal): Promise<string> {
    const work = async () => {
      this.begun.push(name);
      await new Promise<void>((resolve) => this.ends.set(name, resolve));
      if (name.endsWith('!')) throw new Error(name);
      return name;
    };
    return this.turns.run(tenant, work, signal);
  }

  async end(name: string): Promise<void> {
    this.ends.get(name)!();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('The turns of tenants', () => {
  it('one tenant has so many at once, in the order they came, and another does not wait for it', async () => {
    const work = new Work(new TenantTurns(2));
    const first = work.ask('a', 'a1');
    for (const name of ['a2', 'a3', 'a4']) void work.ask('a', name);
    void work.ask('b', 'b1');
    await settled();
    assert.deepEqual(work.begun, ['a1', 'a2', 'b1']);
    await work.end('a1');
    assert.equal(await first, 'a1');
    assert.deepEqual(work.begun, ['a1', 'a2', 'b1', 'a3']);
    await work.end('a2');
    assert.deepEqual(work.begun, ['a1', 'a2', 'b1', 'a3', 'a4']);
  });

  it('what fails gives its turn back', async () => {
    const work = new Work(new TenantTurns(1));
    const failing = assert.rejects(work.ask('a', 'a1!'), /a1!/);
    void work.ask('a', 'a2');
    await settled();
    await work.end('a1!');
    await failing;
    assert.deepEqual(work.begun, ['a1!', 'a2']);
  });

  it('whoever goes away while it waits is not asked for, and the next one is', async () => {
    const work = new Work(new TenantTurns(1));
    void work.ask('a', 'a1');
    const controller = new AbortController();
    const leaving = assert.rejects(work.ask('a', 'a2', controller.signal), /abort/i);
    void work.ask('a', 'a3');
    controller.abort();
    await leaving;
    await work.end('a1');
    assert.deepEqual(work.begun, ['a1', 'a3']);
    await assert.rejects(work.ask('b', 'b1', AbortSignal.abort()), /abort/i);
  });

  it('does not let more wait than is good for anyone', async () => {
    const work = new Work(new TenantTurns(1, 1));
    void work.ask('a', 'a1');
    void work.ask('a', 'a2');
    const refused = (error: unknown) => error instanceof AppError && error.code === 'RATE_LIMITED';
    await assert.rejects(work.ask('a', 'a3'), refused);
    void work.ask('b', 'b1');
    await settled();
    assert.deepEqual(work.begun, ['a1', 'b1']);
  });
});
