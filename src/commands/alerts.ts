import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { Backtest, Outcome } from '../alerts/backtest.js';
import { ruleBody } from '../alerts/rule.schema.js';
import type { Config } from '../config.js';
import { StartupError } from '../errors.js';
import { parseArguments } from './arguments.js';
import { type Call, withServer } from './running-server.js';
import { table } from './table.js';

export const ALERTS_USAGE = `telemetryflow alerts test <rule.yaml> [--hours 24]    what the rule would have done
telemetryflow alerts export <folder>                  every rule as a YAML file
telemetryflow alerts import <file.yaml>...            make rules, or change those of the same name

Of the running server of DATA_DIR and its default tenant, or with --url <address> --key <api key> of another.
`;

const usage = (problem: string) => new StartupError(`${problem}\n\n${ALERTS_USAGE}`);
const OPTIONS = {
  hours: { type: 'string' },
  url: { type: 'string' },
  key: { type: 'string' },
} as const;

/**
 * What a file leaves out is as in a new rule: a line that is taken out of it is taken out of the rule too. `paused` stays, since whoever
 * pauses a rule for a while does not do it in a file.
 */
const LEFT_OUT = Object.fromEntries(
  Object.entries(ruleBody.omit({ paused: true }).shape).flatMap(([name, schema]) => {
    const { success, data } = schema.safeParse(undefined);
    return success ? [[name, data]] : [];
  }),
);

interface Rule extends Record<string, unknown> {
  id: string;
  name: string;
}

interface Channel {
  id: string;
  name: string;
}

/**
 * `telemetryflow alerts ...`; prints what it did.
 *
 * @throws StartupError when it is not one of these, a file is no rule, or no server answers
 */
export async function alertsCommand(config: Config, args: string[]): Promise<void> {
  const { verb, names, hours, url, key } = parsed(args);
  const lines = await withServer(config, { url, key }, ['read', 'write'], (call) => {
    if (verb === 'test' && names.length === 1) return testRule(call, names[0], hours);
    if (verb === 'export' && names.length === 1) return exportRules(call, names[0]);
    if (verb === 'import' && names.length > 0) return importRules(call, names);
    throw usage(`Unknown command: ${['alerts', verb, ...names].filter(Boolean).join(' ')}`);
  });
  for (const line of lines) console.log(line);
}

function parsed(args: string[]) {
  const { positionals, values } = parseArguments({ args, options: OPTIONS, allowPositionals: true }, usage);
  const [verb, ...names] = positionals;
  const hours = Number(values.hours ?? 24);
  return { verb, names, ...values, hours };
}

/** @throws StartupError when it cannot be read, or is no YAML with fields */
async function readRule(file: string): Promise<Record<string, unknown>> {
  let rule: unknown;
  try {
    rule = parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new StartupError(`${file}: ${(error as Error).message}`);
  }
  if (typeof rule === 'object' && rule !== null && !Array.isArray(rule))
    return rule as Record<string, unknown>;
  throw new StartupError(`${file} is no rule: its fields are missing.`);
}

async function testRule(call: Call, file: string, hours: number): Promise<string[]> {
  const rule = withChannelIds(
    file,
    await readRule(file),
    await allOf<Channel>(call, '/notification-channels'),
  );
  const tested = await call<Backtest>('POST', '/alerts/rules/test', { rule, hours });
  const { result, other_for, groups, group_count, evaluations, evaluated_every, failed, error } = tested;
  const row = (name: string, one: Outcome) => [
    name,
    ...[one.fired, one.under_three_minutes, one.open, one.notifications].map(String),
    minutes(one.firing_seconds),
    minutes(one.longest_seconds),
  ];
  const head = ['for', 'fired', 'under 3 min', 'still firing', 'notifications', 'minutes firing', 'longest'];
  const shown = groups.filter(({ firing_seconds }) => firing_seconds > 0);
  return [
    `${rule.name ?? file}: ${evaluations} evaluations, one each ${evaluated_every} s, ${group_count} groups, from ${tested.from} to ${tested.to}`,
    ...(failed > 0 ? [`${failed} evaluations failed: ${error}`] : []),
    '',
    ...table([
      head,
      row(`${rule.for ?? '0s'} (as it is)`, result),
      ...other_for.map((one) => row(one.for, one)),
    ]),
    ...(shown.length > 0 ? [''] : []),
    ...shown.map(
      ({ labels, firing_seconds }) => `${labelText(labels)}: ${minutes(firing_seconds)} minutes firing`,
    ),
  ];
}

const minutes = (seconds: number) => String(Math.round(seconds / 6) / 10);
const labelText = (labels: Record<string, string>) =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ') || 'all';

async function allOf<T>(call: Call, path: string): Promise<T[]> {
  const all: T[] = [];
  let query = 'limit=1000';
  for (;;) {
    const page = await call<{ data: T[]; next_cursor: string | null }>('GET', `${path}?${query}`);
    all.push(...page.data);
    if (!page.next_cursor) return all;
    query = `limit=1000&cursor=${page.next_cursor}`;
  }
}

/** The names of its channels in place of their ids, which are others on every server; without those that were deleted. */
function withChannelNames({ channels, ...rule }: Record<string, unknown>, all: readonly Channel[]) {
  const names = new Map(all.map(({ id, name }) => [id, name]));
  return { ...rule, channels: (channels as string[]).flatMap((id) => names.get(id) ?? []) };
}

/**
 * The ids of its channels, which a file may call by name, in any case, or by id.
 *
 * @throws StartupError when there is no such channel, or it could be two
 */
function withChannelIds(
  file: string,
  rule: Record<string, unknown>,
  all: readonly Channel[],
): Record<string, unknown> {
  // What is no list of texts is the server's to refuse.
  if (!Array.isArray(rule.channels) || !rule.channels.every((one) => typeof one === 'string')) return rule;
  const idOf = (given: string) => {
    const meant = given.toLowerCase();
    const found = all.filter(({ id, name }) => id === meant || name.toLowerCase() === meant);
    if (found.length === 1) return found[0].id;
    const shown = JSON.stringify(given);
    if (found.length > 1)
      throw new StartupError(`${file}: channels: ${shown} is the id of one channel and the name of another.`);
    const known = all.map(({ name }) => JSON.stringify(name)).join(', ') || 'none yet';
    throw new StartupError(
      `${file}: channels: there is no notification channel ${shown} here. There are: ${known}.`,
    );
  };
  return { ...rule, channels: rule.channels.map(idOf) };
}

async function exportRules(call: Call, folder: string): Promise<string[]> {
  const rules = await allOf<Rule>(call, '/alerts/rules');
  const channels = await allOf<Channel>(call, '/notification-channels');
  await mkdir(folder, { recursive: true });
  const taken = new Set<string>();
  const files: string[] = [];
  for (const { id, state, created_by, created_at, updated_at, ...rule } of rules) {
    const plain =
      rule.name
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, '-')
        .replace(/^-|-$/g, '') || 'rule';
    const name = taken.has(plain) ? `${plain}-${id}` : plain;
    taken.add(name);
    files.push(join(folder, `${name}.yaml`));
    await writeFile(files[files.length - 1], stringify(withChannelNames(rule, channels)));
  }
  return [...files, `${files.length} rules exported`];
}

async function importRules(call: Call, files: readonly string[]): Promise<string[]> {
  const rules = await allOf<Rule>(call, '/alerts/rules');
  const channels = await allOf<Channel>(call, '/notification-channels');
  const byName = new Map(rules.map((rule) => [rule.name.toLowerCase(), rule.id]));
  const lines: string[] = [];
  for (const file of files) {
    const rule = withChannelIds(file, await readRule(file), channels);
    const known = byName.get(String(rule.name).toLowerCase());
    const { id } = known
      ? await call<Rule>('PATCH', `/alerts/rules/${known}`, { ...LEFT_OUT, ...rule })
      : await call<Rule>('POST', '/alerts/rules', rule);
    byName.set(String(rule.name).toLowerCase(), id);
    lines.push(`${file}: ${known ? 'changed' : 'made'} ${rule.name} (${id})`);
  }
  return lines;
}
