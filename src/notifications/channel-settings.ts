import { AppError } from '../errors.js';
import type { Outside } from '../outbound/outside.js';
import type { ChannelKind } from './channel-kind.js';
import { discord } from './discord.js';
import { email } from './email.js';
import { pagerduty } from './pagerduty.js';
import { slack } from './slack.js';
import { teams } from './teams.js';
import { webhook } from './webhook.js';

export const KIND_NAMES = ['email', 'slack', 'webhook', 'pagerduty', 'teams', 'discord'] as const;
export type KindName = (typeof KIND_NAMES)[number];

export type Settings = Readonly<Record<string, unknown>>;

// Each kind is given only what its own schema has let through.
export const KINDS = { email, slack, webhook, pagerduty, teams, discord } as unknown as Readonly<
  Record<KindName, ChannelKind<Settings>>
>;

/** What stands for a secret where settings are shown, and may be sent back for "as it was". */
const HIDDEN = '***';

/**
 * Settings as the kind knows them.
 *
 * @throws AppError INVALID_ARGUMENT, details [{field, given, allowed}]; what was given is not repeated, because most of it is
 *   secret, or where it leads may not be reached
 */
export function checkSettings(kind: KindName, given: unknown, outside: Outside): Settings {
  const parsed = KINDS[kind].settings.safeParse(given);
  if (!parsed.success) {
    throw invalid(
      parsed.error.issues.flatMap((issue) => {
        const path = ['settings', ...issue.path.map(String)];
        if (issue.code === 'unrecognized_keys')
          return issue.keys.map((key) => ({
            field: [...path, key].join('.'),
            allowed: `not there for ${kind}`,
          }));
        return [{ field: path.join('.'), allowed: path.length === 1 ? 'an object' : issue.message }];
      }),
    );
  }
  const destination = KINDS[kind].destination(parsed.data);
  if (!destination || outside.isRefused(destination)) {
    throw invalid(
      KINDS[kind].address.slice(0, 1).map((field) => ({
        field: `settings.${field}`,
        allowed: 'a receiver that may be reached: encrypted on the internet, or inside NOTIFY_ALLOW_NETWORKS',
      })),
    );
  }
  return parsed.data;
}

function invalid(problems: { field: string; allowed: string }[]): AppError {
  const details = problems.map(({ field, allowed }) => ({ field, given: 'a value', allowed }));
  const text = problems.map(({ field, allowed }) => `${field} must be ${allowed}`).join('; ');
  return new AppError('INVALID_ARGUMENT', `Bad body: ${text}.`, { details });
}

/** Settings as two: what may be shown, and what is kept encrypted. */
export function splitSettings(kind: KindName, settings: Settings): { shown: Settings; hidden: Settings } {
  const isSecret = ([name]: [string, unknown]) => KINDS[kind].secrets.includes(name);
  const fields = Object.entries(settings);
  return {
    shown: Object.fromEntries(fields.filter((field) => !isSecret(field))),
    hidden: Object.fromEntries(fields.filter(isSecret)),
  };
}

/** Settings as they are shown: secrets only as being there, with the host of a URL and the names of headers. */
export function maskSettings(kind: KindName, settings: Settings): Settings {
  const masked = Object.entries(settings).map(([name, value]) => [
    name,
    KINDS[kind].secrets.includes(name) ? mask(value, KINDS[kind].address.includes(name)) : value,
  ]);
  return Object.fromEntries(masked);
}

function mask(value: unknown, isAddress: boolean): unknown {
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.keys(value).map((name) => [name, HIDDEN]));
  return isAddress ? `${new URL(String(value)).origin}/${HIDDEN}` : HIDDEN;
}

/**
 * Settings after a change. Secrets that are not given, or given as they are shown, stay; null takes one away. Fields that are
 * no secret are all as given.
 *
 * @throws AppError INVALID_ARGUMENT when a secret would stay while the address changes: it would go to somebody else, who so
 *   could read it
 */
export function mergeSettings(kind: KindName, before: Settings, given: Settings): Settings {
  const { secrets, address } = KINDS[kind];
  const shown = maskSettings(kind, before);
  const kept = new Set(
    secrets.filter(
      (name) => before[name] !== undefined && (given[name] === undefined || isSame(given[name], shown[name])),
    ),
  );
  const merged = Object.fromEntries(
    Object.entries({ ...given, ...pick(before, kept) }).filter(([, value]) => value !== null),
  );
  const isMoved = address.some((name) => !isSame(merged[name], before[name]));
  const carried = isMoved ? [...kept].filter((name) => !address.includes(name)) : [];
  if (carried.length === 0) return merged;
  throw invalid(
    carried.map((name) => ({
      field: `settings.${name}`,
      allowed: `given again, or null, because ${address.join(' or ')} changes`,
    })),
  );
}

const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
const pick = (settings: Settings, names: ReadonlySet<string>) =>
  Object.fromEntries(Object.entries(settings).filter(([name]) => names.has(name)));
