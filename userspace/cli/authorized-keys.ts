/** Public SSH keys that somebody names a file of: lines as sshd(8) reads them in `authorized_keys`. */
import { readFileSync } from "node:fs";

/** The file as it is. Throws if there are no such keys in it: a machine whose only key is missing lets nobody in. */
export function readAuthorizedKeys(path: string): Uint8Array {
  const data = readFileSync(path);
  const lines = data.toString("latin1").split("\n");
  if (lines.some((line) => /^-----BEGIN .*PRIVATE KEY-----/.test(line))) {
    throw new Error(`${path}: expected public keys, found a private one`);
  }
  // a key's type, after options that may have spaces in quotes, and what begins with the length of that
  const isKey = (line: string) => /^(?!\s*#).*\b[a-z][\w.@-]+\s+AAAA/.test(line);
  if (lines.some(isKey)) return data;
  throw new Error(`${path}: expected SSH keys, as "ssh-ed25519 AAAA…", a line each`);
}
