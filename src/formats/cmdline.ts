/**
 * The kernel command line, and the arguments on it that choose what boots.
 *
 * Split as the kernel and composefs split it: at ASCII white space outside double quotes; a quote toggles, there are no
 * escapes. `splitCmdline` keeps the quotes, so that `join(" ")` gives an equivalent line; `parseArgument` takes them
 * off as the kernel does.
 */
import { type HashName, hashOfHexLength } from "./digest.ts";

/** One `composefs=` or `composefs.digest=` argument. */
export interface ComposefsArgument {
  /** As it stands on the command line, for messages. */
  readonly text: string;
  /** The image's fs-verity digest: 64 or 128 lower-case hex digits. Also the name of image and deployment. */
  readonly digest: string;
  readonly hash: HashName;
  /** `composefs.digest=` says which EROFS format the image has; `composefs=` may be either. */
  readonly erofs: 1 | 2 | undefined;
  /** `?` after the `=`: fs-verity is not required. */
  readonly insecure: boolean;
}

/** The arguments of a command line in their order, with their quotes. */
export function splitCmdline(text: string): string[] {
  const out: string[] = [];
  let start = -1;
  let quoted = false;
  for (let i = 0; i <= text.length; i++) {
    const char = i < text.length ? text[i]! : " ";
    const end = i === text.length || (!quoted && /[ \t\n\v\f\r]/.test(char));
    if (end) {
      if (start >= 0) out.push(text.slice(start, i));
      start = -1;
      continue;
    }
    if (start < 0) start = i;
    if (char === '"') quoted = !quoted;
  }
  return out;
}

/** Key and value (`undefined` without a `=`) of one argument, without quotes around the whole or around the value. */
export function parseArgument(argument: string): { key: string; value: string | undefined } {
  const bare = argument.startsWith('"') ? unquote(argument) : argument;
  const equals = bare.indexOf("=");
  if (equals < 0) return { key: bare, value: undefined };
  return { key: bare.slice(0, equals), value: unquote(bare.slice(equals + 1)) };
}

function unquote(text: string): string {
  if (!text.startsWith('"')) return text;
  return text.slice(1, text.length > 1 && text.endsWith('"') ? -1 : undefined);
}

/**
 * All `composefs=` and `composefs.digest=` arguments, in the order of the command line. A bare `composefs` without a
 * value is not one. Throws an error that names the argument when one is malformed.
 *
 *     composefs=[?]HEX                        composefs=[?]sha256:HEX    composefs=[?]sha512:HEX
 *     composefs.digest=[?]v1-sha256-12:HEX    (v1 | v2, sha256 | sha512; blocks of 2^12 bytes)
 */
export function parseComposefsArguments(cmdline: string): ComposefsArgument[] {
  const out: ComposefsArgument[] = [];
  for (const text of splitCmdline(cmdline)) {
    const { key, value } = parseArgument(text);
    if (value === undefined) continue;
    if (key === "composefs") out.push(parseShort(text, value));
    else if (key === "composefs.digest") out.push(parseDescriptor(text, value));
  }
  return out;
}

function parseShort(text: string, value: string): ComposefsArgument {
  const insecure = value.startsWith("?");
  const [, name, hex = ""] =
    /^(?:(sha256|sha512):)?(.*)$/s.exec(value.slice(insecure ? 1 : 0)) ?? [];
  const expected = "composefs=DIGEST with 64 (sha256) or 128 (sha512) hex digits";
  const { digest, hash } = parseDigest(text, hex, name as HashName | undefined, expected);
  return { text, digest, hash, erofs: undefined, insecure };
}

function parseDescriptor(text: string, value: string): ComposefsArgument {
  const insecure = value.startsWith("?");
  const expected = "composefs.digest=v1-sha512-12:DIGEST (v1 or v2, sha256 or sha512, 12)";
  const match = /^v([12])-(sha256|sha512)-12:(.*)$/s.exec(value.slice(insecure ? 1 : 0));
  if (match === null) throw malformed(text, expected);
  const { digest, hash } = parseDigest(text, match[3]!, match[2] as HashName, expected);
  return { text, digest, hash, erofs: match[1] === "1" ? 1 : 2, insecure };
}

function parseDigest(
  text: string,
  hex: string,
  named: HashName | undefined,
  expected: string,
): { digest: string; hash: HashName } {
  if (!/^[0-9a-fA-F]*$/.test(hex)) throw malformed(text, expected, "a digest is hex digits");
  const hash = hashOfHexLength(hex.length);
  if (hash === undefined || (named !== undefined && named !== hash)) {
    throw malformed(text, expected, `the digest has ${hex.length} hex digits`);
  }
  return { digest: hex.toLowerCase(), hash };
}

function malformed(text: string, expected: string, found?: string): Error {
  const shown = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  const what = found === undefined ? "" : `${found}; `;
  return new Error(`malformed kernel argument ${shown}: ${what}expected ${expected}`);
}

/** What `systemd.volatile=` asks for (kernel-command-line(7)): the last one counts, alone it means `yes`. */
export type Volatile = "no" | "yes" | "state" | "overlay";

/** `systemd.volatile` of a command line; `no` when it is absent or not understood. */
export function parseVolatile(cmdline: string): Volatile {
  let out: Volatile = "no";
  for (const text of splitCmdline(cmdline)) {
    const { key, value } = parseArgument(text);
    if (key !== "systemd.volatile") continue;
    if (value === "state" || value === "overlay") out = value;
    else if (value === undefined || /^(1|y|yes|t|true|on)$/i.test(value)) out = "yes";
    else out = "no";
  }
  return out;
}

/**
 * Whether `systemd.mount-extra=WHAT:WHERE…` (systemd-fstab-generator(8)) mounts something on `path`. A `:` within a field is
 * written `\:`.
 */
export function mountsExtra(cmdline: string, path: string): boolean {
  return splitCmdline(cmdline).some((text) => {
    const { key, value } = parseArgument(text);
    if (key !== "systemd.mount-extra" || value === undefined) return false;
    const [, where = ""] = value.split(/(?<!\\):/);
    return where.replace(/(?<=.)\/+$/, "") === path;
  });
}
