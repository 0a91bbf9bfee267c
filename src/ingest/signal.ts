/** The three kinds of telemetry, named as in OTLP's URL paths. */
export type Signal = 'traces' | 'logs' | 'metrics';
