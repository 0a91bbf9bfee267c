import { StartupError } from '../errors.js';
import type { QueueName } from '../queue-numbers.js';
import type { JobHandler, JobQueue, JobQueues } from './job-queue.js';

/**
 * Who works which queue off. A feature registers its handler when it is made, in the constructor of a provider of its module:
 *
 *     constructor(@Inject(JobHandlers) handlers: JobHandlers) {
 *       handlers.register(CLEANUP, (job) => this.cleanUp(job));
 *     }
 *
 * It is registered in every process; whether it is called depends on the role: `main.ts` starts the work after it listens, with the role `worker`.
 */
export class JobHandlers {
  private readonly handlers: { queue: JobQueue<unknown>; handler: JobHandler<unknown> }[] = [];

  register<P>(queue: JobQueue<P>, handler: JobHandler<P>): void {
    this.handlers.push({ queue: queue as JobQueue<unknown>, handler: handler as JobHandler<unknown> });
  }

  /** @throws StartupError when a declared queue has no handler, or more than one; or a handler has a queue that is not declared */
  check(declared: readonly { name: QueueName }[]): void {
    const problems: string[] = [];
    const names = new Set([...declared, ...this.handlers.map(({ queue }) => queue)].map(({ name }) => name));
    for (const name of names) {
      const count = this.handlers.filter(({ queue }) => queue.name === name).length;
      if (!declared.some((queue) => queue.name === name)) problems.push(`${name} is not declared`);
      else if (count !== 1) problems.push(`${name} has ${count === 0 ? 'no handler' : `${count} handlers`}`);
    }
    if (problems.length > 0) throw new StartupError(`Job queues: ${problems.join(', ')}`);
  }

  /** Begins to work all of them off in this process. */
  work(queues: JobQueues): void {
    for (const { queue, handler } of this.handlers) queues.work(queue, handler);
  }
}
