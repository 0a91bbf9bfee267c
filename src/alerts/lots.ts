/** More in one statement saves nothing worth waiting for. */
const MAX_LOT = 500;

interface Asked<Q, A> {
  question: Q;
  resolve: (answer: A) => void;
  reject: (error: unknown) => void;
}

/**
 * Has many questions answered by one statement, though each is asked by itself: what is asked in the same turn, or while others are
 * being answered, is one lot.
 */
export class Lots<Q, A> {
  private waiting: Asked<Q, A>[] = [];
  private isBusy = false;

  /** @param answerAll the answers in the order of the questions */
  constructor(private readonly answerAll: (questions: readonly Q[]) => Promise<readonly A[]>) {}

  /** @throws what `answerAll` throws for this question alone: the others of its lot do not suffer for it */
  ask(question: Q): Promise<A> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ question, resolve, reject });
      if (this.isBusy) return;
      this.isBusy = true;
      setImmediate(() => void this.work());
    });
  }

  private async work(): Promise<void> {
    while (this.waiting.length > 0) await this.answer(this.waiting.splice(0, MAX_LOT));
    this.isBusy = false;
  }

  private async answer(lot: readonly Asked<Q, A>[]): Promise<void> {
    try {
      const answers = await this.answerAll(lot.map(({ question }) => question));
      for (const [i, { resolve }] of lot.entries()) resolve(answers[i]);
    } catch (error) {
      if (lot.length === 1) lot[0].reject(error);
      else for (const one of lot) await this.answer([one]);
    }
  }
}
