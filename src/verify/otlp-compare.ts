import { isDeepStrictEqual } from 'node:util';
import { type Entry, LOG_RECORD, POINTS, SPAN, shownValue, type Table, UNKNOWN } from './otlp-fields.js';
import type { OtlpObject, OtlpValue } from './otlp-values.js';

/** One field compared. */
export interface Compared {
  /** Where it stands in the request, e.g. `resourceSpans[0].scopeSpans[0].spans[3].status.code`. */
  otlp: string;
  /** Where it stands in the answer's item, e.g. `status_code`. */
  api: string;
  expected: unknown;
  actual: unknown;
  same: boolean;
}

/** An item of a request with the messages around it, by the names that the tables use, and the path of each. */
export interface Sent {
  messages: Record<string, OtlpObject>;
  paths: Record<string, string>;
  table: Table;
}

type Answer = Record<string, unknown>;

const list = (value: OtlpValue | undefined) => (value ?? []) as OtlpObject[];

/** Every item of a request, in the order of the message. */
export function itemsOf(request: OtlpObject): Sent[] {
  const [[envelope, resources]] = Object.entries(request);
  const signal = envelope.replace('resource', '');
  const itemsName = { Spans: 'spans', Logs: 'logRecords', Metrics: 'metrics' }[signal]!;
  return list(resources).flatMap((resource, r) =>
    list(resource[`scope${signal}`]).flatMap((scope, s) => {
      const scopePath = `${envelope}[${r}].scope${signal}[${s}]`;
      const messages = { resource, scope };
      const paths = { resource: `${envelope}[${r}]`, scope: scopePath };
      return list(scope[itemsName]).flatMap((item, i): Sent[] => {
        const path = `${scopePath}.${itemsName}[${i}]`;
        if (signal === 'Metrics') return pointsOf({ ...messages, metric: item }, { ...paths, metric: path });
        const table = signal === 'Spans' ? SPAN : LOG_RECORD;
        return [{ messages: { ...messages, item }, paths: { ...paths, item: path }, table }];
      });
    }),
  );
}

function pointsOf(messages: Record<string, OtlpObject>, paths: Record<string, string>): Sent[] {
  const kind = Object.keys(POINTS).find((name) => name in messages.metric)!;
  const data = messages.metric[kind] as OtlpObject;
  const dataPath = `${paths.metric}.${kind}`;
  return list(data.dataPoints).map((item, p) => ({
    messages: { ...messages, data, item },
    paths: { ...paths, data: dataPath, item: `${dataPath}.dataPoints[${p}]` },
    table: POINTS[kind],
  }));
}

/** Compares every field of an item with the API's answer for it. */
export function compareItem({ messages, paths, table }: Sent, answer: Answer): Compared[] {
  return table.flatMap((entry) => compareEntry(entry, messages, paths, answer));
}

function compareEntry(
  [otlpPath, api, how]: Entry,
  messages: Record<string, OtlpObject>,
  paths: Record<string, string>,
  answer: Answer,
): Compared[] {
  const [message, ...fields] = otlpPath.split('.');
  const sent = valueAt(messages[message], fields) as OtlpValue | undefined;
  const otlp = [paths[message], ...fields].join('.');
  const actual = valueAt(answer, api.split('.'));
  if (how === 'attributes') return compareAttributes(list(sent), otlp, api, answer);
  if (typeof how === 'function') {
    const expected = how(sent);
    return expected === UNKNOWN ? [] : [compare(otlp, api, expected, actual)];
  }
  const answers = (Array.isArray(actual) ? actual : []) as Answer[];
  return [
    compare(`${otlp} (how many)`, api, list(sent).length, answers.length),
    ...list(sent).flatMap((member, index) =>
      how.flatMap((entry) => {
        const path = { member: `${otlp}[${index}]` };
        const found = compareEntry(entry, { member }, path, answers[index] ?? {});
        return found.map((compared) => ({ ...compared, api: `${api}[${index}].${compared.api}` }));
      }),
    ),
  ];
}

function compareAttributes(sent: OtlpObject[], otlp: string, api: string, answer: Answer): Compared[] {
  const typesPath = `${api.replace(/attributes$/, 'attribute')}_types`;
  const values = (valueAt(answer, api.split('.')) ?? {}) as Answer;
  const types = (valueAt(answer, typesPath.split('.')) ?? {}) as Answer;
  const keys = sent.map(({ key }) => String(key)).sort();
  return [
    compare(`${otlp} (keys)`, api, keys, Object.keys(values).sort()),
    ...sent.flatMap(({ key, value }, index) => {
      const name = String(key);
      const shown = shownValue(value as OtlpValue);
      const path = `${otlp}[${index}]`;
      return [
        compare(`${path}.value`, `${api}[${JSON.stringify(name)}]`, shown.value, own(values, name)),
        compare(
          `${path}.value (type)`,
          `${typesPath}[${JSON.stringify(name)}]`,
          shown.type,
          own(types, name),
        ),
      ];
    }),
  ];
}

function compare(otlp: string, api: string, expected: unknown, actual: unknown): Compared {
  return { otlp, api, expected, actual, same: isDeepStrictEqual(expected, actual) };
}

function own(object: Answer, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function valueAt(value: unknown, fields: string[]): unknown {
  let at = value;
  for (const field of fields) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = own(at as Answer, field);
  }
  return at;
}
