/** composefs-setup-root without its runtime: arguments in, mounts done, lines and an exit status out. */
import { fromBytes, toText } from "../src/formats/bytestring.ts";
import {
  DEFAULT_CONF,
  parseSetupRootConf,
  type SetupRootConf,
} from "../src/formats/setup-root-conf.ts";
import { AT_FDCWD } from "../src/linux/constants.ts";
import { readFile } from "../src/linux/files.ts";
import { HintedError } from "../src/linux/hint.ts";
import { isErrno, type Linux } from "../src/linux/linux.ts";
import { setupRoot } from "../src/linux/setup-root.ts";

const NAME = "composefs-setup-root";
const CONFIG = "/usr/lib/composefs/setup-root-conf.toml";
const MAX_TEXT = 1 << 20;
/** Where a command without a slash is looked for, and what it gets as its environment. */
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const USAGE = `usage: ${NAME} [OPTION]... [--] [COMMAND [ARGUMENT]...]

Puts the root file system together that the kernel command line asks for with composefs= or
composefs.digest=, and mounts it over the physical root. Meant for the initramfs.

  --sysroot DIR    where the physical root is mounted (/sysroot)
  --config FILE    the configuration (${CONFIG})
  --cmdline TEXT   this kernel command line instead of /proc/cmdline
  --root-fs DIR    mount this directory instead of an image, without verification
  --target DIR     mount the new root here and leave the physical root where it is
  --help           this text

COMMAND is executed when everything is mounted. Exit status: 0 done, 1 failed, 2 wrong usage.
`;

/** What the program prints to. */
export interface Output {
  stdout(text: string): void;
  stderr(text: string): void;
}

interface Arguments {
  readonly options: ReadonlyMap<string, string>;
  readonly command: readonly string[];
}

const OPTIONS = ["--sysroot", "--config", "--cmdline", "--root-fs", "--target"];

/**
 * Runs the program and returns its exit status. What goes wrong is told on stderr in one line, with a hint below where
 * there is one; only faults of the program itself are thrown.
 */
export function run(linux: Linux, args: readonly string[], output: Output): number {
  const parsed = parseArguments(args);
  if (parsed === "help") {
    output.stdout(USAGE);
    return 0;
  }
  if (typeof parsed === "string") {
    output.stderr(`${NAME}: error: ${parsed}\nhint: ${NAME} --help\n`);
    return 2;
  }
  try {
    const { options, command } = parsed;
    setupRoot(linux, {
      sysroot: options.get("--sysroot") ?? "/sysroot",
      cmdline: options.get("--cmdline") ?? readText(linux, "/proc/cmdline"),
      conf: readConf(linux, options.get("--config") ?? CONFIG, output),
      rootFs: options.get("--root-fs"),
      target: options.get("--target"),
      report: (line) => output.stdout(`${line}\n`),
    });
    if (command.length > 0) execute(linux, command);
    return 0;
  } catch (error) {
    if (!(error instanceof Error) || isFault(error)) throw error;
    output.stderr(describe(error));
    return 1;
  }
}

/** The options and the command, or what is wrong with them, or "help". */
function parseArguments(args: readonly string[]): Arguments | string {
  const options = new Map<string, string>();
  let i = 0;
  for (; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") {
      i++;
      break;
    }
    if (!arg.startsWith("-")) break;
    if (arg === "--help") return "help";
    const equals = arg.indexOf("=");
    const name = equals < 0 ? arg : arg.slice(0, equals);
    if (!OPTIONS.includes(name)) return `unknown option ${name}`;
    const value = equals < 0 ? args[++i] : arg.slice(equals + 1);
    if (value === undefined || (value === "" && name !== "--cmdline")) {
      return `${name} needs a value`;
    }
    options.set(name, value);
  }
  return { options, command: args.slice(i) };
}

function readText(linux: Linux, path: string): string {
  const bytes = fromBytes(readFile(linux, AT_FDCWD, path, MAX_TEXT));
  const text = toText(bytes);
  if (text === undefined) throw new Error(`${path}: not UTF-8`);
  return text;
}

function readConf(linux: Linux, path: string, output: Output): SetupRootConf {
  let text: string;
  try {
    text = readText(linux, path);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return DEFAULT_CONF;
    throw error;
  }
  const { conf, warnings } = parseSetupRootConf(text, path);
  for (const warning of warnings) output.stderr(`${NAME}: warning: ${warning}\n`);
  return conf;
}

function execute(linux: Linux, command: readonly string[]): never {
  const name = command[0]!;
  const paths = name.includes("/") ? [name] : PATH.split(":").map((dir) => `${dir}/${name}`);
  let last: unknown;
  for (const path of paths) {
    try {
      linux.execve(path, [...command], [`PATH=${PATH}`]);
    } catch (error) {
      last = error;
      if (!isErrno(error, "ENOENT")) break;
    }
  }
  throw new Error(`execute ${name}`, { cause: last });
}

/** Errors that the language throws when the program is wrong. */
function isFault(error: Error): boolean {
  return (
    error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError
  );
}

/** The messages of an error and of its causes on one line, and the first hint among them. */
function describe(error: Error): string {
  const messages: string[] = [];
  let hint: string | undefined;
  for (let e: unknown = error; e instanceof Error && messages.length < 16; e = e.cause) {
    messages.push(e.message);
    if (e instanceof HintedError) hint ??= e.hint;
  }
  return `${NAME}: error: ${messages.join(": ")}\n${hint === undefined ? "" : `hint: ${hint}\n`}`;
}
