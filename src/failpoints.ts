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

/**
 * The same, of the sending of a notification: it is taken, told, and noted as told; or its failure is noted (`released`), or also that the
 * receiver wants a pause (`deferred`), for which there is then a job (`postponed`).
 */
export type DeliveryFailpoint =
  | 'delivery-claimed'
  | 'delivery-sent'
  | 'delivery-noted'
  | 'delivery-released'
  | 'delivery-deferred'
  | 'delivery-postponed';
/** Kills the process that works on a body with these letters in it, as a body would on which a library crashes. */
const POISON = 'poison-body';

/** The same, of the evaluation of a rule: before and after the commit of what it found, and when the jobs that tell it are added. */
export type AlertFailpoint = 'alert-written' | 'alert-committed' | 'alert-told';

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
export function reach(step: Failpoint | DeliveryFailpoint | AlertFailpoint | ExpiryFailpoint): void {
  if (step === armed && --passesLeft === 0) process.kill(process.pid, 'SIGKILL');
}

/** Marks that a body is worked on; kills the process when that is what is armed and the body is a poisonous one. */
export function reachBody(body: Uint8Array): void {
  if (armed === POISON && Buffer.from(body).includes(POISON)) process.kill(process.pid, 'SIGKILL');
}
