import { Global, Inject, Module, type OnApplicationShutdown } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { CONFIG, type Config } from '../config.js';
import { ClickHouse, openClickHouse } from './clickhouse.js';
import { migrate } from './migrations.js';
import { openPostgres, Postgres } from './postgres.js';

/** Both databases, connected and migrated: injecting either means that its schema is there. */
interface Databases {
  clickhouse: ClickHouse;
  postgres: Postgres;
}
const DATABASES = Symbol('DATABASES');

async function openDatabases(config: Config): Promise<Databases> {
  const opening = [openPostgres(config), openClickHouse(config)] as const;
  try {
    const [postgres, clickhouse] = await Promise.all(opening);
    await migrate(postgres, clickhouse);
    return { postgres, clickhouse };
  } catch (error) {
    const opened = await Promise.allSettled(opening);
    for (const result of opened) if (result.status === 'fulfilled') await result.value.close();
    throw error;
  }
}

@Global()
@Module({
  providers: [
    { provide: DATABASES, inject: [CONFIG], useFactory: openDatabases },
    { provide: ClickHouse, inject: [DATABASES], useFactory: (databases: Databases) => databases.clickhouse },
    { provide: Postgres, inject: [DATABASES], useFactory: (databases: Databases) => databases.postgres },
    { provide: DataSource, inject: [Postgres], useFactory: (postgres: Postgres) => postgres.dataSource },
  ],
  exports: [ClickHouse, Postgres, DataSource],
})
export class ConnectionsModule implements OnApplicationShutdown {
  constructor(@Inject(DATABASES) private readonly databases: Databases) {}

  /** After everything that uses them has stopped: telemetry first, then what says whose it is. */
  async onApplicationShutdown(): Promise<void> {
    await this.databases.clickhouse.close();
    await this.databases.postgres.close();
  }
}
