/** A binary heap: the first item, by `isBefore`, is always at hand. */
export class Heap<T> {
  private readonly items: T[] = [];

  constructor(private readonly isBefore: (a: T, b: T) => boolean) {}

  peek(): T | undefined {
    return this.items[0];
  }

  push(item: T): void {
    const { items, isBefore } = this;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(item, items[parent])) break;
      items[at] = items[parent];
      at = parent;
    }
    items[at] = item;
  }

  pop(): T | undefined {
    const first = this.items[0];
    const last = this.items.pop();
    if (last !== undefined && this.items.length > 0) this.sink(last);
    return first;
  }

  /** The items in order, found one by one: the first few of a million cost little. The heap must not change meanwhile. */
  *inOrder(): Generator<T> {
    const { items } = this;
    const open = new Heap<number>((a, b) => this.isBefore(items[a], items[b]));
    if (items.length > 0) open.push(0);
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      yield items[at];
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < items.length) open.push(child);
    }
  }

  private sink(item: T): void {
    const { items, isBefore } = this;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && isBefore(items[child + 1], items[child])) child++;
      if (!isBefore(items[child], item)) break;
      items[at] = items[child];
      at = child;
    }
    items[at] = item;
  }
}
