import { Resolver } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';

/** All addresses of a name. @throws Error with DNS's `code` when it has none, or nobody tells */
export type Resolve = (host: string) => Promise<string[]>;

const HOSTS_FILE = '/etc/hosts';
/** Two rounds fit into the time that a message has. */
const ROUND_MS = 2000;
const ROUNDS = 2;

/**
 * The system's hosts file, then its DNS servers. Not `getaddrinfo`: it holds a thread of the pool that the journal's syncs need
 * for as long as a name server likes, and tenants choose whose name server that is. So there are no search domains.
 */
export const systemResolve: Resolve = async (host) => {
  const known = addressesIn(await readFile(HOSTS_FILE, 'utf8').catch(() => ''), host);
  if (known.length > 0) return known;
  const resolver = new Resolver({ timeout: ROUND_MS, tries: ROUNDS });
  const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  const failures = answers.flatMap((answer) =>
    answer.status === 'rejected' ? [answer.reason as Error] : [],
  );
  if (addresses.length > 0) return addresses;
  // That there is no address of one family says less than why there is none of the other.
  throw failures.find((failure) => (failure as NodeJS.ErrnoException).code !== 'ENODATA') ?? failures[0];
};

/** The addresses that a hosts file gives a name. */
export function addressesIn(hostsFile: string, host: string): string[] {
  const wanted = host.toLowerCase().replace(/\.$/, '');
  return hostsFile
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim().split(/\s+/))
    .filter(
      ([address, ...names]) => isIP(address) !== 0 && names.some((name) => name.toLowerCase() === wanted),
    )
    .map(([address]) => address);
}
