import { randomUUID } from 'node:crypto';
import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Patch, Post, Query } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { CONFIG, type Config } from '../config.js';
import { CurrentScope } from '../edge/current-scope.js';
import { Requires } from '../edge/scope.guard.js';
import type { Scope } from '../edge/scope.js';
import { ApiRoute } from '../http/api-route.js';
import { parseBody, parseChange, parseQuery, type RawQuery } from '../http/request.schema.js';
import { Outside } from '../outbound/outside.js';
import { SecretBox } from '../secret-box.js';
import {
  ask,
  byAge,
  Changes,
  CurrentDoing,
  type Doing,
  differences,
  type List,
  listRows,
} from '../tenants/rows.js';
import {
  CHANNEL_COLUMNS,
  type Channel,
  type ChannelRow,
  insertChannel,
  openRow,
  readChannel,
  renameChannel,
  updateChannel,
} from './channel-rows.js';
import { checkSettings, KINDS, mergeSettings, type Settings } from './channel-settings.js';
import {
  channelAnswer,
  channelBody,
  channelChange,
  channelsQuery,
  type Delivery,
  deliveriesQuery,
  deliveryAnswer,
  describedBody,
  describedChange,
  testAnswer,
} from './notifications.schema.js';
import { tellTest } from './test-message.js';

/** Where incidents are told to. */
@Requires('write')
@Controller('api/v1/notification-channels')
export class ChannelsController {
  constructor(
    @Inject(DataSource) private readonly source: DataSource,
    @Inject(Changes) private readonly changes: Changes,
    @Inject(SecretBox) private readonly box: SecretBox,
    @Inject(Outside) private readonly outside: Outside,
    @Inject(CONFIG) private readonly config: Pick<Config, 'PUBLIC_URL'>,
  ) {}

  @ApiRoute({ summary: 'List notification channels', query: channelsQuery, list: channelAnswer })
  @Requires('read')
  @Get()
  async list(@CurrentScope() scope: Scope, @Query() raw: RawQuery) {
    const { kind, ...page } = parseQuery(channelsQuery, raw);
    const list: List = {
      name: 'notification-channels',
      filters: { kind },
      columns: CHANNEL_COLUMNS,
      from: 'notification_channels',
      where: 'tenant_id = $1 AND ($2::text IS NULL OR kind = $2)',
      parameters: [scope.tenantId, kind ?? null],
      sortedBy: byAge('notification_channels'),
    };
    const found = await listRows<ChannelRow>(scope, this.source, () => list, page);
    return { ...found, data: found.data.map((row) => openRow(this.box, row).channel) };
  }

  @ApiRoute({ summary: 'Read a notification channel', response: channelAnswer })
  @Requires('read')
  @Get(':id')
  async read(@CurrentScope() scope: Scope, @Param('id') id: string): Promise<Channel> {
    return openRow(this.box, await readChannel(scope, this.source, id)).channel;
  }

  @ApiRoute({
    summary: 'Make a notification channel',
    description: 'Secrets among its settings are kept encrypted and never shown again.',
    body: describedBody,
    response: channelAnswer,
    errors: ['CONFLICT'],
  })
  @Post()
  create(@CurrentDoing() doing: Doing, @Body() body: unknown): Promise<Channel> {
    const { name, kind, enabled = true, settings } = parseBody(channelBody, body);
    const checked = checkSettings(kind, settings, this.outside);
    const { scope, id: createdBy } = doing.principal;
    const id = randomUUID();
    return this.changes.run(doing, async (manager, note) => {
      await insertChannel(scope, manager, this.box, {
        id,
        name,
        kind,
        enabled,
        settings: checked,
        createdBy,
      });
      const { channel } = openRow(this.box, await readChannel(scope, manager, id));
      await note({ ...noteOf(scope, channel, 'create'), details: { after: contentOf(channel) } });
      return channel;
    });
  }

  @ApiRoute({
    summary: 'Change a notification channel',
    description:
      'Settings are given as a whole; secrets among them that are left out, or given as they are shown, stay as they were, and null takes one away. When its address changes, secrets are given again.',
    body: describedChange,
    response: channelAnswer,
    errors: ['CONFLICT'],
  })
  @Patch(':id')
  change(@CurrentDoing() doing: Doing, @Param('id') id: string, @Body() body: unknown): Promise<Channel> {
    const given = parseChange(channelChange, body);
    const { scope } = doing.principal;
    return this.changes.run(doing, async (manager, note) => {
      const before = openRow(this.box, await readChannel(scope, manager, id, true));
      const { name, kind, enabled } = { ...before.channel, ...given };
      const settings =
        given.settings === undefined
          ? before.settings
          : this.merged(before.channel, before.settings, given.settings);
      // Where settings are not given, what is encrypted stays as it is, be it readable here or not.
      if (given.settings === undefined) await renameChannel(scope, manager, id, { name, enabled });
      else await updateChannel(scope, manager, this.box, before.channel, { name, enabled, settings });
      const { channel } = openRow(this.box, await readChannel(scope, manager, id));
      const secrets = KINDS[kind].secrets.filter(
        (field) => JSON.stringify(before.settings[field]) !== JSON.stringify(settings[field]),
      );
      const changes = differences(contentOf(before.channel), contentOf(channel)) ?? {};
      if (secrets.length > 0 || Object.keys(changes).length > 0)
        await note({ ...noteOf(scope, channel, 'update'), details: { changes, secrets } });
      return channel;
    });
  }

  @ApiRoute({
    summary: 'Delete a notification channel',
    description: 'What is still to be told there fails; what was told stays listed.',
    status: 204,
  })
  @Delete(':id')
  @HttpCode(204)
  remove(@CurrentDoing() doing: Doing, @Param('id') id: string): Promise<void> {
    const { scope } = doing.principal;
    return this.changes.run(doing, async (manager, note) => {
      const { channel } = openRow(this.box, await readChannel(scope, manager, id, true));
      await ask(manager, 'DELETE FROM notification_channels WHERE tenant_id = $1 AND id = $2', [
        scope.tenantId,
        id,
      ]);
      await note({ ...noteOf(scope, channel, 'delete'), details: { before: contentOf(channel) } });
    });
  }

  @ApiRoute({
    summary: 'Send a test message to a notification channel',
    description:
      'It is sent at once and tried once; the answer says what happened. Channels that are turned off are tested too.',
    response: testAnswer,
    status: 200,
  })
  @Post(':id/test')
  @HttpCode(200)
  async test(@CurrentDoing() doing: Doing, @Param('id') id: string) {
    const { scope } = doing.principal;
    const open = openRow(this.box, await readChannel(scope, this.source, id));
    const { result, write } = await tellTest(scope, this.source, open, this.outside, this.config.PUBLIC_URL);
    return this.changes.run(doing, async (manager, note) => {
      await write(manager);
      const { sent, status, reason } = result;
      await note({ ...noteOf(scope, open.channel, 'test'), details: { sent, status, reason } });
      return result;
    });
  }

  private merged(channel: Channel, before: Settings, given: unknown): Settings {
    const isObject = typeof given === 'object' && given !== null && !Array.isArray(given);
    const merged = isObject ? mergeSettings(channel.kind, before, given as Settings) : given;
    return checkSettings(channel.kind, merged, this.outside);
  }
}

/** What of a channel a record of its change shows: secrets are `***` here already. */
const contentOf = ({ name, kind, enabled, settings }: Channel) => ({ name, kind, enabled, settings });

function noteOf({ organizationId, tenantId }: Scope, { id, name }: Channel, verb: string) {
  const target = { kind: 'notification_channel', id, name };
  return { action: `notification_channel.${verb}`, organizationId, tenantId, target };
}

const DELIVERY_COLUMNS = `notification_deliveries.id, notice_id, notice ->> 'kind' AS kind, notice ->> 'summary' AS summary,
  notice -> 'rule' ->> 'id' AS rule_id, channel_id, channel_name, channel_kind, state, attempts, last_status, last_error,
  created_at, updated_at, finished_at`;

/** What was told, is being told, or could not be. */
@Requires('read')
@Controller('api/v1/notification-deliveries')
export class DeliveriesController {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  @ApiRoute({
    summary: 'List deliveries of notices to channels, the newest first',
    description:
      'One delivery is one notice to one channel. Those that ended more than 90 days ago are forgotten.',
    query: deliveriesQuery,
    list: deliveryAnswer,
  })
  @Get()
  list(@CurrentScope() scope: Scope, @Query() raw: RawQuery) {
    const { channel_id, notice_id, state, ...page } = parseQuery(deliveriesQuery, raw);
    const list: List = {
      name: 'notification-deliveries',
      filters: { channel_id, notice_id, state },
      columns: DELIVERY_COLUMNS,
      from: 'notification_deliveries',
      where: `tenant_id = $1 AND ($2::uuid IS NULL OR channel_id = $2) AND ($3::uuid IS NULL OR notice_id = $3)
        AND ($4::text IS NULL OR state = $4)`,
      parameters: [scope.tenantId, channel_id ?? null, notice_id ?? null, state ?? null],
      sortedBy: byAge('notification_deliveries'),
      newestFirst: true,
    };
    return listRows<Delivery>(scope, this.source, () => list, page);
  }
}
