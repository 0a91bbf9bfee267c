import { z } from 'zod';
import { AppError } from '../errors.js';
import { about, nameField, PRINTABLE, pageFields, plain, type RawQuery } from '../http/request.schema.js';
import { parseTime } from '../http/time.js';

/** The questions that a panel may ask, by their path under /api/v1; each throws AppError INVALID_ARGUMENT for wrong parameters. */
export type PanelQuestions = Readonly<Record<string, (parameters: RawQuery) => void>>;

export const CHARTS = ['line', 'area', 'bar', 'stat', 'table', 'list', 'map'] as const;
/** Panels lie on a grid of so many columns. */
const COLUMNS = 24;
const MAX_HEIGHT = 100;
const MAX_ROWS = 10_000;
const MAX_PANELS = 100;
const MAX_PARAMETERS = 50;

const whole = (min: number, max: number) => {
  const error = `a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
};

const CHART = `one of ${CHARTS.join(', ')}`;
const QUESTION = 'a path under /api/v1, such as metrics/query';
const PARAMETERS = `an object of ${MAX_PARAMETERS} parameters at most, each a text or a list of texts`;
const PANELS = `a list of at most ${MAX_PANELS} panels`;
const DESCRIPTION = 'text of at most 2000 characters';
const RANGE = 'a begin before now, in the style now-1h';
const value = z.union([z.string().max(8192), z.array(z.string().max(8192)).max(100)]);

const panel = z.strictObject({
  title: nameField,
  chart: z.enum(CHARTS, { error: CHART }),
  x: whole(0, COLUMNS - 1),
  y: whole(0, MAX_ROWS),
  width: whole(1, COLUMNS),
  height: whole(1, MAX_HEIGHT),
  question: z.strictObject({
    path: z.string({ error: QUESTION }),
    parameters: z
      .record(z.string(), value, { error: PARAMETERS })
      .refine((given) => Object.keys(given).length <= MAX_PARAMETERS, { error: PARAMETERS })
      .describe('those of the route, but for the time range and the page, which whoever shows it says'),
  }),
});

export type Panel = z.output<typeof panel>;

export const dashboardBody = z.object({
  name: nameField,
  description: z
    .string({ error: DESCRIPTION })
    .max(2000, { error: DESCRIPTION })
    .regex(/^[^\p{Cs}\0]*$/u, { error: DESCRIPTION })
    .optional(),
  time_range: z
    .string({ error: RANGE })
    .regex(PRINTABLE, { error: RANGE })
    .refine((given) => /^now-/.test(given) && parseTime(given) !== undefined, { error: RANGE })
    .optional()
    .describe('what is shown at first, as `from` of a question; now-1h unless given'),
  refresh_seconds: whole(0, 86_400)
    .optional()
    .describe('how often its panels are asked anew, and so their max_age; 0: by hand. 30 unless given'),
  panels: z.array(panel, { error: PANELS }).max(MAX_PANELS, { error: PANELS }),
});

export const dashboardChange = dashboardBody.extend({
  version: whole(1, 2 ** 31 - 1)
    .optional()
    .describe('the one that was read: the change is refused (CONFLICT) when another came between'),
});

export const dashboardsQuery = z.object({
  name: about('Part of the name, in any case', plain).optional(),
  ...pageFields,
});

/** A dashboard as it is shown. */
export interface Dashboard {
  id: string;
  name: string;
  description: string;
  time_range: string;
  refresh_seconds: number;
  panels: Panel[];
  /** Counts its changes. */
  version: number;
  created_by: string;
  created_at: string;
  updated_at: string;
}

const date = z.string().meta({ format: 'date-time' });
export const dashboardAnswer = z.object({
  id: z.string().meta({ format: 'uuid' }),
  name: z.string(),
  description: z.string(),
  time_range: z.string(),
  refresh_seconds: z.number(),
  panels: z.array(panel),
  version: z.number().describe('counts its changes'),
  created_by: z.string(),
  created_at: date,
  updated_at: date,
}) satisfies z.ZodType<Dashboard>;

/** @throws AppError INVALID_ARGUMENT, details for all that is wrong in the panels' questions and places */
export function checkPanels(panels: readonly Panel[], questions: PanelQuestions): void {
  const wrong = panels.flatMap((one, i) => [...placeFaults(one, i), ...questionFaults(one, i, questions)]);
  if (wrong.length === 0) return;
  const sentences = wrong.map(({ field, allowed }) => `${field} must be ${allowed}`);
  throw new AppError('INVALID_ARGUMENT', `Bad body: ${sentences.join('; ')}.`, { details: wrong });
}

interface Fault {
  field: string;
  given: unknown;
  allowed: string;
}

function placeFaults({ x, width }: Panel, index: number): Fault[] {
  if (x + width <= COLUMNS) return [];
  const allowed = `${COLUMNS - x} at most, because it begins at column ${x} of ${COLUMNS}`;
  return [{ field: `panels.${index}.width`, given: width, allowed }];
}

function questionFaults({ question }: Panel, index: number, questions: PanelQuestions): Fault[] {
  const { path, parameters } = question;
  const at = `panels.${index}.question`;
  if (!Object.hasOwn(questions, path)) {
    const allowed = `one of ${Object.keys(questions).join(', ')}`;
    return [{ field: `${at}.path`, given: path.slice(0, 200), allowed }];
  }
  try {
    questions[path](parameters);
    return [];
  } catch (error) {
    if (!(error instanceof AppError) || !Array.isArray(error.details)) throw error;
    return (error.details as Fault[]).map((fault) => ({
      ...fault,
      field: `${at}.parameters.${fault.field}`,
    }));
  }
}
