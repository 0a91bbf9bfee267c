/** So many things at once; who asks first is first. */
export class Slots {
  private used = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private most: number) {}

  get limit(): number {
    return this.most;
  }

  /** What is used over a smaller limit is not taken away. */
  set limit(limit: number) {
    this.most = limit;
    this.admit();
  }

  /** True: it is the caller's until `give`. False: `abort` came first. */
  take(abort: AbortSignal): Promise<boolean> {
    if (abort.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const off = () => {
        this.waiting.splice(this.waiting.indexOf(admit), 1);
        resolve(false);
      };
      const admit = () => {
        abort.removeEventListener('abort', off);
        resolve(true);
      };
      abort.addEventListener('abort', off);
      this.waiting.push(admit);
      this.admit();
    });
  }

  give(): void {
    this.used--;
    this.admit();
  }

  private admit(): void {
    while (this.used < this.most && this.waiting.length > 0) {
      this.used++;
      this.waiting.shift()?.();
    }
  }
}
