import {
  Inject,
  Module,
  type OnApplicationBootstrap,
  type OnModuleDestroy,
  type OnModuleInit,
} from '@nestjs/common';
import type { Logger } from 'pino';
import { Registry } from 'prom-client';
import { DataSource } from 'typeorm';
import { CONFIG, type Config } from '../config.js';
import { NOTIFICATION } from '../jobs/declared.js';
import { JobHandlers } from '../jobs/job-handlers.js';
import { JOB_QUEUES, type JobQueues } from '../jobs/job-queue.js';
import { LOGGER } from '../log.js';
import { DeliveryMetrics } from '../notices/delivery-metrics.js';
import { Outside } from '../outbound/outside.js';
import { SecretBox, secretBoxOf } from '../secret-box.js';
import { renewSecrets } from './channel-rows.js';
import { DeliveryWorker } from './delivery.worker.js';
import { ChannelsController, DeliveriesController } from './notifications.controller.js';

/** Channels that incidents are told to, and the way of a notice to them. */
@Module({
  controllers: [ChannelsController, DeliveriesController],
  providers: [
    { provide: SecretBox, inject: [CONFIG], useFactory: secretBoxOf },
    {
      provide: Outside,
      inject: [CONFIG],
      useFactory: (config: Config) => new Outside({ allowNetworks: config.NOTIFY_ALLOW_NETWORKS }),
    },
  ],
  exports: [SecretBox, Outside],
})
export class NotificationsModule implements OnModuleInit {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(SecretBox) private readonly box: SecretBox,
    @Inject(LOGGER) private readonly log: Logger,
  ) {}

  async onModuleInit(): Promise<void> {
    const { renewed, unreadable } = await renewSecrets(this.source, this.box);
    if (renewed > 0) this.log.info({ channels: renewed }, 'Secrets were encrypted anew under SECRET_KEY.');
    if (unreadable > 0)
      this.log.error(
        { channels: unreadable },
        'Secrets of notification channels were encrypted under another SECRET_KEY: nothing is sent to them from here. Set the same SECRET_KEY in every process, or the one before as SECRET_KEY_PREVIOUS.',
      );
  }
}

/** The sending of deliveries, by jobs. */
@Module({
  imports: [NotificationsModule],
  providers: [
    {
      provide: DeliveryWorker,
      inject: [DataSource, SecretBox, Outside, JOB_QUEUES, LOGGER, CONFIG, Registry],
      useFactory: (
        source: DataSource,
        box: SecretBox,
        outside: Outside,
        queues: JobQueues,
        log: Logger,
        { QUEUE_NOTIFICATION: { tries }, PUBLIC_URL: publicUrl }: Config,
        registry: Registry,
      ) => {
        const metrics = new DeliveryMetrics(registry);
        return new DeliveryWorker({ source, box, outside, queues, log, metrics, tries, publicUrl });
      },
    },
  ],
})
export class DeliveriesModule implements OnApplicationBootstrap, OnModuleDestroy {
  constructor(
    @Inject(DeliveryWorker) private readonly worker: DeliveryWorker,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(JobHandlers) handlers: JobHandlers,
  ) {
    handlers.register(NOTIFICATION, (job) => worker.deliver(job));
  }

  onApplicationBootstrap(): void {
    if (this.config.TF_ROLES.has('worker')) this.worker.start();
  }

  /** While PostgreSQL is still connected. */
  async onModuleDestroy(): Promise<void> {
    await this.worker.stop();
  }
}
