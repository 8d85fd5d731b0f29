/**
 * GRUB's environment block, `grubenv`: variables that GRUB can write at boot. It writes into the blocks that the file
 * has, without a file system's help, so the file keeps its size: what is not used is filled up with `#`.
 *
 *     # GRUB Environment Block
 *     boot_success=0
 *     ##########…
 *
 * In values a backslash stands before a backslash and before a newline.
 */
import { type ByteString, display, fromBytes, fromText, toBytes, toText } from "./bytestring.ts";

/** Of a new file, in bytes. */
const SIZE = 1024;
const MAX_SIZE = 1 << 20;
const HEADER = "# GRUB Environment Block\n";

export interface GrubEnv {
  /** Of the file, in bytes. */
  readonly size: number;
  /** All that is before the padding. */
  readonly lines: readonly GrubEnvLine[];
}

export interface GrubEnvLine {
  /** With its newline. */
  readonly bytes: ByteString;
  /** `undefined`: a comment, or nothing that GRUB would take for a variable. */
  readonly name: string | undefined;
  readonly value: string;
}

/** A block without variables, of the size that `grub-editenv create` gives it. */
export function newGrubEnv(): GrubEnv {
  return { size: SIZE, lines: [{ bytes: HEADER as ByteString, name: undefined, value: "" }] };
}

/** Reads a file. Throws an error that names `file` if GRUB would not use it. */
export function parseGrubEnv(bytes: Uint8Array, file: string): GrubEnv {
  const size = bytes.length;
  if (size > MAX_SIZE) throw new Error(`${file}: ${size} bytes, expected at most ${MAX_SIZE}`);
  const text = fromBytes(bytes);
  if (!text.startsWith(HEADER)) {
    throw new Error(`${file}: offset 0: expected ${JSON.stringify(HEADER)}`);
  }
  let end = text.length;
  while (text[end - 1] === "#") end--;
  if (text[end - 1] !== "\n") {
    throw new Error(`${file}: offset ${end}: expected a newline before the padding`);
  }
  const lines: GrubEnvLine[] = [];
  for (let at = 0; at < end; ) {
    const next = endOfLine(text, at, end);
    if (next === undefined) throw new Error(`${file}: offset ${at}: expected a line with an end`);
    lines.push(parseLine(text.slice(at, next) as ByteString));
    at = next;
  }
  return { size, lines };
}

/** The bytes of the file. */
export function serializeGrubEnv({ size, lines }: GrubEnv): Uint8Array {
  const used = lines.map((line) => line.bytes).join("");
  return toBytes(used.padEnd(size, "#") as ByteString);
}

/** The value of a variable, if it is set. Of several lines the last one counts, as when GRUB loads them in order. */
export function grubEnvValue({ lines }: GrubEnv, name: string): string | undefined {
  return lines.filter((line) => line.name === name).at(-1)?.value;
}

/**
 * The block with a variable set, in its place or after all others; `undefined` takes it away. Throws if there is no room
 * left, and for what cannot be a name.
 */
export function setGrubEnv(env: GrubEnv, name: string, value: string | undefined): GrubEnv {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
    throw new Error(`GRUB variable ${JSON.stringify(name)}: expected letters, digits and _`);
  }
  const lines: GrubEnvLine[] = [];
  let left = value === undefined ? [] : [newLine(name, value)];
  for (const line of env.lines) {
    if (line.name !== name) lines.push(line);
    else {
      lines.push(...left);
      left = [];
    }
  }
  lines.push(...left);
  const used = lines.reduce((sum, { bytes }) => sum + bytes.length, 0);
  if (used > env.size) {
    throw new Error(
      `GRUB variable ${name}: no room in the environment block: needs ${used} bytes, has ${env.size}`,
    );
  }
  return { size: env.size, lines };
}

function newLine(name: string, value: string): GrubEnvLine {
  if (value.includes("\0")) throw new Error(`GRUB variable ${name}: expected no zero bytes`);
  const escaped = value.replaceAll(/[\\\n]/g, (char) => `\\${char}`);
  return { bytes: fromText(`${name}=${escaped}\n`), name, value };
}

/** After the newline that no backslash is before. */
function endOfLine(text: string, start: number, end: number): number | undefined {
  for (let at = start; at < end; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "\n") return at + 1;
  }
  return undefined;
}

function parseLine(bytes: ByteString): GrubEnvLine {
  const equals = bytes.indexOf("=");
  if (bytes.startsWith("#") || equals <= 0) return { bytes, name: undefined, value: "" };
  const value = bytes.slice(equals + 1, -1).replaceAll(/\\(.)/gs, "$1");
  return { bytes, name: readable(bytes.slice(0, equals)), value: readable(value) };
}

function readable(bytes: string): string {
  return toText(bytes as ByteString) ?? display(bytes as ByteString);
}
