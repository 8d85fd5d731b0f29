/**
 * The text files of an SELinux policy that say which label a file has, by its path (selabel_file(5)): `file_contexts` and its
 * companions, and `/etc/selinux/config`, that names the policy.
 *
 * Read as composefs-rs reads them: lines of UTF-8, fields between white space, `#` only at the beginning of a line. Errors
 * name the file and the line, from 1.
 */
import { type ByteString, display, fromBytes, fromText, type Text, toText } from "./bytestring.ts";

/** The letters of file types in `file_contexts`: block and character device, directory, pipe, link, socket, regular file. */
export type FileType = "b" | "c" | "d" | "p" | "l" | "s" | "-";

const FILE_TYPES: readonly string[] = ["b", "c", "d", "p", "l", "s", "-"] satisfies FileType[];

/** One line of `file_contexts`. */
export interface FileContext {
  /** A pattern for the whole path. */
  readonly regex: Text;
  /** The only type of file that it is for. */
  readonly type: FileType | undefined;
  readonly context: ByteString;
  /** For messages: file and line. */
  readonly place: string;
}

/** The context of files that get no label. */
export const NO_CONTEXT = "<<none>>";

/** Parses `file_contexts`, `file_contexts.local` or `file_contexts.homedirs`. */
export function parseFileContexts(bytes: Uint8Array, name: string): FileContext[] {
  const contexts: FileContext[] = [];
  for (const { fields, place } of records(bytes, name)) {
    const [regex, second, third, fourth] = fields;
    const typed = second?.startsWith("-") === true;
    const context = typed ? third : second;
    const type = typed ? second.slice(1) : undefined;
    if (type !== undefined && !isFileType(type)) {
      throw new Error(
        `${place}: unknown file type "-${type}", expected one of -b -c -d -p -l -s --`,
      );
    }
    if (regex === undefined || context === undefined) {
      throw new Error(`${place}: expected a pattern, a file type or none, and a context`);
    }
    const excess = typed ? fourth : third;
    if (excess !== undefined) throw new Error(`${place}: "${excess}" after the context`);
    contexts.push({ regex, type, context: fromText(context), place });
  }
  return contexts;
}

function isFileType(type: string): type is FileType {
  return FILE_TYPES.includes(type);
}

/** Parses `file_contexts.subs` or `.subs_dist`: paths, and those whose labels they and all below them get. */
export function parseSubstitutions(
  bytes: Uint8Array,
  name: string,
): [alias: ByteString, original: ByteString][] {
  const pairs: [ByteString, ByteString][] = [];
  for (const { fields, place } of records(bytes, name)) {
    const [alias, original] = fields;
    if (alias === undefined || original === undefined || fields.length > 2) {
      throw new Error(`${place}: expected two paths`);
    }
    pairs.push([fromText(alias), fromText(original)]);
  }
  return pairs;
}

/** The policy that `/etc/selinux/config` names; `undefined` if it names none. What follows is not looked at. */
export function parseSelinuxConfig(bytes: Uint8Array, name: string): ByteString | undefined {
  for (const { text } of lines(bytes, name)) {
    const equals = text.indexOf("=");
    if (equals < 0 || trim(text.slice(0, equals)).toUpperCase() !== "SELINUXTYPE") continue;
    return fromText(trim(text.slice(equals + 1)));
  }
  return undefined;
}

/** White space as Unicode has it. What `\s` means in JavaScript is not quite the same. */
const SPACE = "[\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const BLANKS = new RegExp(`${SPACE}+`);
const BLANK = new RegExp(SPACE);

function trim(text: string): Text {
  let start = 0;
  let end = text.length;
  while (start < end && BLANK.test(text[start]!)) start++;
  while (end > start && BLANK.test(text[end - 1]!)) end--;
  return text.slice(start, end);
}

/** Lines that are neither empty nor comments, in fields. */
function* records(
  bytes: Uint8Array,
  name: string,
): Generator<{ readonly fields: readonly Text[]; readonly place: string }> {
  for (const { text, place } of lines(bytes, name)) {
    const fields = text.split(BLANKS).filter((field) => field !== "");
    if (fields.length > 0 && !fields[0]!.startsWith("#")) yield { fields, place };
  }
}

function* lines(
  bytes: Uint8Array,
  name: string,
): Generator<{ readonly text: Text; readonly place: string }> {
  for (const [i, line] of fromBytes(bytes).split("\n").entries()) {
    const place = `${name}:${i + 1}`;
    const text = toText(line as ByteString);
    if (text === undefined) {
      throw new Error(`${place}: "${display(line as ByteString).slice(0, 100)}" is not UTF-8`);
    }
    yield { text, place };
  }
}
