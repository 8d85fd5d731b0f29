/**
 * Extended headers of POSIX.1-2001 (pax): records `<length> <key>=<value>\n`, the length in decimal and of the whole
 * record.
 */
import { type ByteString, display, fromBytes, toText } from "../bytestring.ts";

/** What an extended header says about the member that follows. Absent: the header block's own value counts. */
export interface PaxOverrides {
  path?: ByteString;
  linkPath?: ByteString;
  size?: bigint;
  uid?: bigint;
  gid?: bigint;
  mtimeSec?: bigint;
  /** 0 .. 999,999,999; always there with `mtimeSec`. */
  mtimeNsec?: number;
  readonly xattrs: Map<ByteString, Uint8Array>;
}

const XATTR_PREFIX = "SCHILY.xattr.";
const SPARSE_PREFIX = "GNU.sparse.";
const MAX_U64 = 2n ** 64n - 1n;

/**
 * Parses the body of an extended header that is at `offset` of the archive. The last of several records with one key
 * counts, but for the fraction of `mtime`, which is that of the first. Keys that say nothing about the tree are left
 * out. Xattr values are copies.
 */
export function parsePax(body: Uint8Array, offset: number): PaxOverrides {
  const out: PaxOverrides = { xattrs: new Map() };
  for (const { key, value, at } of records(body, offset)) {
    const fail = (why: string) => new Error(`tar offset ${at}: ${why}`);
    const decimal = (text: string): bigint => {
      const number = /^\+?[0-9]{1,64}$/.test(text) ? BigInt(text.replace("+", "")) : -1n;
      if (number < 0n || number > MAX_U64) {
        throw fail(
          `extended header ${key}: expected a decimal number of at most 64 bits, found "${display(fromBytes(value))}"`,
        );
      }
      return number;
    };

    if (key === "path") out.path = fromBytes(value);
    else if (key === "linkpath") out.linkPath = fromBytes(value);
    else if (key === "size") out.size = decimal(fromBytes(value));
    else if (key === "uid") out.uid = decimal(fromBytes(value));
    else if (key === "gid") out.gid = decimal(fromBytes(value));
    else if (key === "mtime") {
      const [, seconds, fraction] = /^([^.]*)\.?(.*)$/s.exec(fromBytes(value))!;
      out.mtimeSec = decimal(seconds!);
      out.mtimeNsec ??= nanoseconds(fraction!);
    } else if (key.startsWith(SPARSE_PREFIX)) {
      throw fail(`extended header ${key}: sparse files are not supported`);
    } else if (key.startsWith(XATTR_PREFIX)) {
      out.xattrs.set(key.slice(XATTR_PREFIX.length) as ByteString, new Uint8Array(value));
    }
  }
  return out;
}

/** Up to nine digits after the point; what is not a number counts as none. */
function nanoseconds(fraction: string): number {
  const digits = fraction.slice(0, 9);
  if (!/^\+?[0-9]+$/.test(digits)) return 0;
  return Number.parseInt(digits, 10) * 10 ** (9 - digits.length);
}

interface Record {
  /** Its bytes, which are valid UTF-8. */
  readonly key: ByteString;
  readonly value: Uint8Array;
  /** Offset in the archive. */
  readonly at: number;
}

const SPACE = 0x20;
const NEWLINE = 0x0a;
const EQUALS = 0x3d;

function* records(body: Uint8Array, offset: number): Generator<Record> {
  for (let start = 0; start < body.length; ) {
    const at = offset + start;
    const fail = (why: string) => new Error(`tar offset ${at}: extended header: ${why}`);
    // Some writers fill up with NULs or other bytes: where no length begins, the records end.
    const space = body.indexOf(SPACE, start);
    const length = space < 0 ? "" : fromBytes(body.subarray(start, Math.min(space, start + 24)));
    if (!/^\+?[0-9]+$/.test(length)) return;
    const end = start + Number(length);
    if (end > body.length) {
      throw fail(`record of ${length} bytes, ${body.length - start} are left`);
    }
    if (end <= space || body[end - 1] !== NEWLINE) {
      throw fail(`expected a newline at the end of a record of ${length} bytes`);
    }
    const equals = body.indexOf(EQUALS, space);
    if (equals < 0 || equals >= end) throw fail("expected key=value");
    const key = fromBytes(body.subarray(space + 1, equals));
    if (toText(key) === undefined) throw fail(`expected a key in UTF-8, found "${display(key)}"`);
    yield { key, value: body.subarray(equals + 1, end - 1), at };
    start = end;
  }
}
