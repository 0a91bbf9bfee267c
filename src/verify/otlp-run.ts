const STEP_NS = 1_000_001n;

/** Unique names and ids of one run, and times that grow from item to item, so that answers in time order match. */
export class Run {
  private items = 0n;

  /**
   * @param tag part of service and metric names
   * @param ids hex digits of a run, at least 32
   * @param firstUnixNano time of the first item
   */
  constructor(
    readonly tag: string,
    private readonly ids: string,
    private readonly firstUnixNano: bigint,
  ) {}

  get service(): string {
    return `telemetryflow-verify-${this.tag}`;
  }

  get traceId(): string {
    return this.ids.slice(0, 32);
  }

  /** Of the records that come without a resource, so that they can be asked for alone. */
  get otherTraceId(): string {
    return `${this.ids.slice(0, 31)}${this.ids[31] === 'f' ? 'e' : 'f'}`;
  }

  metric(kind: string): string {
    return `telemetryflow.verify.${this.tag}.${kind}`;
  }

  spanId(index: number): string {
    return `${this.ids.slice(0, 12)}${(index + 1).toString(16).padStart(4, '0')}`;
  }

  nextTime(): string {
    return String(this.firstUnixNano + this.items++ * STEP_NS);
  }
}
