import type { z } from 'zod';
import type { Notice } from '../notices/notice.js';
import type { Destination, Outside } from '../outbound/outside.js';

/** What is sent to one channel. */
export interface Message {
  notice: Notice;
  channelId: string;
  deliveryId: string;
  /** When this try was made. */
  nowMs: number;
}

/** How it was taken. */
export interface Taken {
  /** What the receiver answered: an HTTP status or an SMTP reply code. */
  status: number;
  /** What it did not take, in our own words. */
  remark?: string;
}

/** A kind of channel: what it must know, and how a notice is told there. */
export interface ChannelKind<Settings = Record<string, unknown>> {
  /** What a person gives. Nothing of it is a default that could change later. */
  settings: z.ZodType<Settings>;
  /** Fields of the settings that are kept encrypted and never shown. */
  secrets: readonly (keyof Settings & string)[];
  /** Fields that say where a message goes. When one changes, secrets that are sent there must be given again. */
  address: readonly (keyof Settings & string)[];
  /** Undefined when nothing is sent to such an address at all. */
  destination(settings: Settings): Destination | undefined;
  /**
   * Tells it, within the time that the signal gives.
   *
   * @throws SendError
   */
  send(settings: Settings, message: Message, outside: Outside, signal: AbortSignal): Promise<Taken>;
}
