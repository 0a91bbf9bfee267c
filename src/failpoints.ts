/**
 * Named steps of the ingest pipeline at which a test can have the process killed, to show that a power cut there loses and
 * doubles nothing. Without the setting `FAILPOINT` a step costs one comparison.
 */
export type Failpoint =
  | 'request-read'
  | 'journal-written'
  | 'journal-synced'
  | 'batch-planned'
  | 'batch-transcoded'
  | 'insert-started'
  | 'insert-finished'
  | 'ledger-written'
  | 'batch-done'
  | 'segment-deleted';

/** The same, of the sending of a notification. */
export type DeliveryFailpoint = 'delivery-claimed' | 'delivery-sent' | 'delivery-noted';

/** The same, of what goes because it is too old. */
export type ExpiryFailpoint = 'expiry-noted' | 'expiry-recorded' | 'expiry-dropped';

let armed: string | undefined;
let passesLeft = 0;

/** @param setting `<step>` or `<step>:<n>`: the n-th time (default 1) the step is reached, the process is killed */
export function armFailpoint(setting: string | undefined): void {
  const [step, count = '1'] = setting?.split(':') ?? [];
  armed = step;
  passesLeft = Number(count);
}

/** Marks a step; kills the process as `kill -9` does when it is the armed one. */
export function reach(step: Failpoint | DeliveryFailpoint | ExpiryFailpoint): void {
  if (step === armed && --passesLeft === 0) process.kill(process.pid, 'SIGKILL');
}
