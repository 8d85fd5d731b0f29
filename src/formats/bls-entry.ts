/**
 * Boot menu entries: the files `loader/entries/*.conf` of the Boot Loader Specification (UAPI.1), type #1.
 *
 *     title Debian GNU/Linux 13 (trixie)
 *     version 13
 *     linux /EFI/Linux/bootc_composefs-…/vmlinuz
 *     initrd /EFI/Linux/bootc_composefs-…/initrd
 *     options rw composefs=…
 *     sort-key bootc-debian-0
 *
 * A line is a key, spaces or tabs, and a value; `#` starts a comment. Whoever reads these files meets those of others,
 * so reading never fails: what cannot be made sense of stays as it is, byte for byte, and `problem` says why it will
 * not boot. Of a key that is there more than once, systemd-boot and bootc take the last one; `initrd` and `options` add
 * up.
 */
import { type ByteString, display, fromBytes, fromText, toBytes, toText } from "./bytestring.ts";

/** Larger files are not looked into. */
export const MAX_ENTRY_SIZE = 1 << 16;

/** What an entry starts, by key. */
export const KERNEL_KEYS = ["linux", "uki", "uki-url", "efi"] as const;
export type KernelKey = (typeof KERNEL_KEYS)[number];

/** The order in which bootc writes keys; all others come after these. */
const WRITTEN_ORDER = [
  ["title"],
  ["version"],
  KERNEL_KEYS,
  ["initrd"],
  ["options"],
  ["machine-id"],
  ["sort-key"],
] as const;

/** One line, with the newline that it ends in. */
export interface BlsLine {
  readonly bytes: ByteString;
  /** `undefined`: an empty line or a comment. */
  readonly key: string | undefined;
  /** Without white space at its ends; empty if there is none, which counts as if the key were not there. */
  readonly value: string;
}

export interface BlsEntry {
  /** All of the file. */
  readonly lines: readonly BlsLine[];
  readonly title: string | undefined;
  readonly version: string | undefined;
  readonly machineId: string | undefined;
  readonly sortKey: string | undefined;
  readonly architecture: string | undefined;
  readonly devicetree: string | undefined;
  /** What it starts; `undefined` if that is missing or stated in two ways. */
  readonly kernel: { readonly key: KernelKey; readonly path: string } | undefined;
  readonly initrds: readonly string[];
  /** Kernel arguments, all `options` joined by spaces; `undefined` without any. */
  readonly options: string | undefined;
  /** Why no boot loader can use the entry; `undefined` if one can. */
  readonly problem: string | undefined;
}

/** Reads a file. Never throws. */
export function parseBlsEntry(bytes: Uint8Array): BlsEntry {
  if (bytes.length > MAX_ENTRY_SIZE) {
    return view([], `${bytes.length} bytes, expected at most ${MAX_ENTRY_SIZE}`);
  }
  const text = fromBytes(bytes);
  const lines = (text.match(/[^\n]*\n|[^\n]+$/g) ?? []).map((line) =>
    parseLine(line as ByteString),
  );
  return view(lines, text.includes("\0") ? "not a text file" : undefined);
}

/** The bytes of the file. */
export function serializeBlsEntry(entry: BlsEntry): Uint8Array {
  return toBytes(entry.lines.map((line) => line.bytes).join("") as ByteString);
}

/** What a new entry says. */
export interface NewBlsEntry {
  readonly title?: string | undefined;
  readonly version: string;
  readonly kernel: { readonly key: KernelKey; readonly path: string };
  readonly initrds?: readonly string[];
  readonly options?: string | undefined;
  readonly machineId?: string | undefined;
  readonly sortKey?: string | undefined;
  /** Further keys, in the order in which they are to be written. */
  readonly others?: readonly (readonly [key: string, value: string])[];
}

/** An entry as bootc writes it. Throws if a value does not fit into a line. */
export function newBlsEntry(fields: NewBlsEntry): BlsEntry {
  const pairs: (readonly [string, string | undefined])[] = [
    ["title", fields.title],
    ["version", fields.version],
    [fields.kernel.key, fields.kernel.path],
    ...(fields.initrds ?? []).map((path) => ["initrd", path] as const),
    ["options", fields.options],
    ["machine-id", fields.machineId],
    ["sort-key", fields.sortKey],
    ...(fields.others ?? []),
  ];
  const lines = pairs.flatMap(([key, value]) =>
    value === undefined || value === "" ? [] : [newLine(key, value)],
  );
  return view(lines, undefined);
}

/**
 * The entry with another value for a key, all other lines as they were; `undefined` takes the key away. Of several lines
 * with the key the first one stays, with its indentation. Throws if the value does not fit into a line.
 */
export function setBlsValue(entry: BlsEntry, key: string, value: string | undefined): BlsEntry {
  const lines: BlsLine[] = [];
  let written = value === undefined || value === "";
  for (const line of entry.lines) {
    if (line.key !== key) lines.push(line);
    else if (!written && value !== undefined) {
      lines.push(line.value === value ? line : changedLine(line, key, value));
      written = true;
    }
  }
  if (!written && value !== undefined) insertLine(lines, newLine(key, value));
  return view(lines, undefined);
}

/** The entry with other kernel arguments. */
export function setBlsOptions(entry: BlsEntry, options: string | undefined): BlsEntry {
  return setBlsValue(entry, "options", options);
}

/** The entry with another key to sort by. */
export function setBlsSortKey(entry: BlsEntry, sortKey: string | undefined): BlsEntry {
  return setBlsValue(entry, "sort-key", sortKey);
}

/** The entry with other paths of what it starts and of its initrds. */
export function changeBlsPaths(entry: BlsEntry, change: (path: string) => string): BlsEntry {
  const keys: readonly string[] = [...KERNEL_KEYS, "initrd"];
  const lines = entry.lines.map((line) => {
    const { key, value } = line;
    if (key === undefined || value === "" || !keys.includes(key)) return line;
    const changed = change(value);
    return changed === value ? line : changedLine(line, key, changed);
  });
  return view(lines, entry.problem);
}

function parseLine(bytes: ByteString): BlsLine {
  const [, key, value = ""] = /^[ \t\r]*([^ \t\r\n]+)[ \t]*([^\n]*)/.exec(bytes) ?? [];
  if (key === undefined || key.startsWith("#")) return { bytes, key: undefined, value: "" };
  return { bytes, key: readable(key), value: readable(trimEnd(value)) };
}

/** By hand: a regular expression would take quadratic time on white space in the middle. */
function trimEnd(value: string): string {
  let end = value.length;
  while (end > 0 && " \t\r".includes(value[end - 1]!)) end--;
  return value.slice(0, end);
}

function readable(bytes: string): string {
  return toText(bytes as ByteString) ?? display(bytes as ByteString);
}

function newLine(key: string, value: string): BlsLine {
  if (!/^[^\s#\0][^\s\0]*$/.test(key)) {
    throw new Error(`boot entry: key ${JSON.stringify(key)}: expected a word`);
  }
  const bytes = fromText(`${key} ${oneLine(key, value)}\n`);
  return { bytes, key, value };
}

/** Keeps what is before the value and the newline. */
function changedLine(line: BlsLine, key: string, value: string): BlsLine {
  const before = /^[ \t\r]*[^ \t\r\n]+[ \t]*/.exec(line.bytes)?.[0] ?? "";
  const separated = /[ \t]$/.test(before) ? before : `${before} `;
  const newline = /\r?\n$/.exec(line.bytes.slice(-2))?.[0] ?? "";
  const bytes = `${separated}${fromText(oneLine(key, value))}${newline}` as ByteString;
  return { bytes, key, value };
}

function oneLine(key: string, value: string): string {
  if (/[\n\r\0]/.test(value) || value.trim() !== value) {
    throw new Error(
      `boot entry: ${key}: expected one line without white space at its ends, not ${JSON.stringify(value.slice(0, 200))}`,
    );
  }
  return value;
}

/** Puts a line where bootc would have it. Not simply at the end: GRUB stops reading at an empty line. */
function insertLine(lines: BlsLine[], line: BlsLine): void {
  const rank = rankOf(line.key!);
  let at = 0;
  for (const [i, other] of lines.entries()) {
    if (other.key !== undefined && rankOf(other.key) <= rank) at = i + 1;
  }
  const before = lines[at - 1];
  if (before !== undefined && !before.bytes.endsWith("\n")) {
    lines[at - 1] = { ...before, bytes: `${before.bytes}\n` as ByteString };
  }
  lines.splice(at, 0, line);
}

function rankOf(key: string): number {
  const rank = WRITTEN_ORDER.findIndex((keys) => (keys as readonly string[]).includes(key));
  return rank < 0 ? WRITTEN_ORDER.length : rank;
}

function view(lines: readonly BlsLine[], problem: string | undefined): BlsEntry {
  const values = new Map<string, string[]>();
  for (const { key, value } of lines) {
    if (key === undefined || value === "") continue;
    const list = values.get(key);
    if (list === undefined) values.set(key, [value]);
    else list.push(value);
  }
  const last = (key: string) => values.get(key)?.at(-1);
  const kinds = KERNEL_KEYS.filter((key) => values.has(key));
  const [kind] = kinds;
  return {
    lines,
    title: last("title"),
    version: last("version"),
    machineId: last("machine-id"),
    sortKey: last("sort-key"),
    architecture: last("architecture"),
    devicetree: last("devicetree"),
    kernel: kind === undefined || kinds.length > 1 ? undefined : { key: kind, path: last(kind)! },
    initrds: values.get("initrd") ?? [],
    options: values.get("options")?.join(" "),
    problem: problem ?? problemOf(kinds),
  };
}

function problemOf(kinds: readonly KernelKey[]): string | undefined {
  if (kinds.length > 1) return `${kinds.join(" and ")}, expected one of them`;
  if (kinds.length === 0) return `expected one of ${KERNEL_KEYS.join(", ")}`;
  return undefined;
}
