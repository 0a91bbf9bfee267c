import { isIP } from 'node:net';
import { z } from 'zod';

const MIB = 1024 * 1024;
const UNITS: Record<string, number> = { '': 1, K: 1024, M: MIB, G: 1024 * MIB, T: 1024 * 1024 * MIB };

/** `512MiB`, `2G`, `1048576` -> bytes. */
function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  return match ? Math.floor(Number(match[1]) * UNITS[match[2].toUpperCase()]) : undefined;
}

export const bytes = z.string().transform((text, context) => {
  const value = parseBytes(text);
  if (value !== undefined && value > 0) return value;
  context.addIssue({ code: 'custom', message: 'a size such as 16MiB, 512M, 2G or a number of bytes' });
  return z.NEVER;
});
export const integer = (min: number, max: number) =>
  z.string().transform((text, context) => {
    const value = Number(text);
    if (/^\d+$/.test(text.trim()) && value >= min && value <= max) return value;
    context.addIssue({ code: 'custom', message: `a whole number from ${min} to ${max}` });
    return z.NEVER;
  });
export const port = integer(0, 65535);
export const limit = integer(0, 1_000_000_000);
export const milliseconds = integer(1, 86_400_000);
const list = (text: string) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
const isNetwork = (text: string) => {
  const [address, bits, more] = text.split('/');
  const maxBits = { 0: -1, 4: 32, 6: 128 }[isIP(address)]!;
  return (
    more === undefined &&
    maxBits > 0 &&
    (bits === undefined || (/^\d+$/.test(bits) && Number(bits) <= maxBits))
  );
};
export const networks = z.string().transform((text, context) => {
  if (list(text).every(isNetwork)) return list(text);
  context.addIssue({ code: 'custom', message: 'addresses or networks such as 10.0.0.1, 10.0.0.0/8' });
  return z.NEVER;
});
export const origins = z.string().transform((text, context) => {
  const isOrigin = (item: string) => URL.canParse(item) && new URL(item).origin === item;
  if (list(text).every(isOrigin)) return list(text);
  context.addIssue({ code: 'custom', message: 'origins such as https://app.example.com' });
  return z.NEVER;
});
export const url = (...schemes: string[]) =>
  z.string().refine((text) => URL.canParse(text) && schemes.includes(new URL(text).protocol), {
    message: `a URL starting with ${schemes.map((scheme) => `${scheme}//`).join(' or ')}`,
  });

const MAX_BASE_URL = 500;
/** What paths are added to: without a slash at its end. */
export const baseUrl = z.string().transform((text, context) => {
  const given = URL.canParse(text) ? new URL(text) : undefined;
  const isWeb = given?.protocol === 'http:' || given?.protocol === 'https:';
  if (given && isWeb && text.length <= MAX_BASE_URL && !/[?#@]/.test(text))
    return given.href.replace(/\/+$/, '');
  context.addIssue({
    code: 'custom',
    message: 'an address such as https://telemetry.example, or with a path',
  });
  return z.NEVER;
});
