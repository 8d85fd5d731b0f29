/**
 * `setup-root-conf.toml`: how composefs-setup-root makes `/etc`, `/var` and the root itself. Read from the initramfs,
 * `/usr/lib/composefs/setup-root-conf.toml`; the same file as bootc's and composefs-rs'.
 *
 *     [root]
 *     transient = false            # true: the whole root writable, changes lost at reboot
 *     [etc]                        # and [var] likewise
 *     mount = "bind"               # none (root) | bind | overlay | transient (volatile)
 *     transient = false            # true: short for mount = "transient"; `mount` wins
 *     [cfsboot]                    # ours; other programs ignore it
 *     erofs = "auto"               # auto | file | loop: mount the image from its file or through a loop device
 *     layers = "auto"              # auto | fds | strings | paths: how overlayfs is told its layers
 */
import { parse, TomlError } from "smol-toml";

export type DirectoryMount = "none" | "bind" | "overlay" | "transient";
export const EROFS_WAYS = ["auto", "file", "loop"] as const;
export const LAYER_WAYS = ["auto", "fds", "strings", "paths"] as const;

export interface SetupRootConf {
  readonly rootTransient: boolean;
  /** `undefined` where the file does not say: whoever uses it knows the default. */
  readonly etc: DirectoryMount | undefined;
  readonly var: DirectoryMount | undefined;
  readonly erofs: (typeof EROFS_WAYS)[number];
  readonly layers: (typeof LAYER_WAYS)[number];
}

/** What a missing file means. */
export const DEFAULT_CONF: SetupRootConf = {
  rootTransient: false,
  etc: undefined,
  var: undefined,
  erofs: "auto",
  layers: "auto",
};

/** The words of `mount =`, in the order in which messages name them. */
const MOUNTS: Readonly<Record<string, DirectoryMount>> = {
  none: "none",
  root: "none",
  bind: "bind",
  overlay: "overlay",
  transient: "transient",
  volatile: "transient",
};

/** The tables and keys that mean something. */
const KEYS: Readonly<Record<string, readonly string[]>> = {
  root: ["transient"],
  etc: ["mount", "transient"],
  var: ["mount", "transient"],
  cfsboot: ["erofs", "layers"],
};

/** In characters: what is longer is not looked at where a key is searched for. */
const MAX_USUAL_LINE = 200;

type Table = Readonly<Record<string, unknown>>;

/**
 * Parses the text of the file called `file` in messages. Throws an error that names file, line and what was expected;
 * keys that mean nothing are left out and named in `warnings`.
 */
export function parseSetupRootConf(
  text: string,
  file: string,
): { conf: SetupRootConf; warnings: string[] } {
  const reader = new ConfReader(text, file);
  const directory = (table: string): DirectoryMount | undefined => {
    const mount = reader.choice(table, "mount", Object.keys(MOUNTS));
    const transient = reader.boolean(table, "transient");
    if (mount !== undefined) return MOUNTS[mount];
    return transient === true ? "transient" : undefined;
  };
  const conf: SetupRootConf = {
    rootTransient: reader.boolean("root", "transient") ?? false,
    etc: directory("etc"),
    var: directory("var"),
    erofs: reader.choice("cfsboot", "erofs", EROFS_WAYS) ?? "auto",
    layers: reader.choice("cfsboot", "layers", LAYER_WAYS) ?? "auto",
  };
  return { conf, warnings: reader.unknownKeys() };
}

class ConfReader {
  readonly #root: Table;
  readonly #text: string;
  readonly #file: string;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
    try {
      this.#root = parse(text, { maxDepth: 16 });
    } catch (error) {
      if (!(error instanceof TomlError)) throw error;
      const [what] = error.message.split("\n");
      throw new Error(
        `${file}, line ${error.line}, column ${error.column}: ${(what ?? "").replace("Invalid TOML document: ", "")}`,
      );
    }
    for (const table of Object.keys(KEYS)) {
      const value = own(this.#root, table);
      if (value !== undefined && !isTable(value)) throw this.#wrong(table, undefined, "a table");
    }
  }

  boolean(table: string, key: string): boolean | undefined {
    const value = this.#value(table, key);
    if (value === undefined || typeof value === "boolean") return value;
    throw this.#wrong(table, key, "true or false", value);
  }

  choice<T extends string>(table: string, key: string, words: readonly T[]): T | undefined {
    const value = this.#value(table, key);
    if (value === undefined) return undefined;
    const word = words.find((w) => w === value);
    if (word !== undefined) return word;
    throw this.#wrong(table, key, `one of ${words.map((w) => `"${w}"`).join(", ")}`, value);
  }

  unknownKeys(): string[] {
    const out: string[] = [];
    for (const [table, value] of Object.entries(this.#root)) {
      const known = own(KEYS, table) as readonly string[] | undefined;
      if (known === undefined) {
        out.push(`${this.#place(table, undefined)}: unknown: [${table}]`);
        continue;
      }
      for (const key of Object.keys(value as Table)) {
        if (!known.includes(key)) {
          out.push(`${this.#place(table, key)}: unknown: ${key} in [${table}]`);
        }
      }
    }
    return out;
  }

  #value(table: string, key: string): unknown {
    const value = own(this.#root, table);
    return isTable(value) ? own(value, key) : undefined;
  }

  #wrong(table: string, key: string | undefined, expected: string, found?: unknown): Error {
    const what = key === undefined ? table : `${key} in [${table}]`;
    const is =
      typeof found === "string"
        ? ` is "${found}",`
        : typeof found === "number" || typeof found === "boolean"
          ? ` is ${found},`
          : ":";
    return new Error(`${this.#place(table, key)}: ${what}${is} expected ${expected}`);
  }

  /** File and line of a key. The parser keeps no positions, so this looks for the usual spellings. */
  #place(table: string, key: string | undefined): string {
    let current = "";
    for (const [i, untrimmed] of this.#text.split("\n").entries()) {
      const line = untrimmed.trim();
      if (line.length > MAX_USUAL_LINE) continue;
      const header = /^\[+\s*"?([^\]"]*?)"?\s*\]/.exec(line);
      if (header !== null) current = header[1]!;
      const assigned = /^([^=#]*?)\s*=/.exec(header === null ? line : "")?.[1];
      const hit =
        key === undefined
          ? (header !== null && current === table) || (current === "" && assigned === table)
          : (current === table && assigned === key) ||
            (current === "" && (assigned === `${table}.${key}` || assigned === table));
      if (hit) return `${this.#file}, line ${i + 1}`;
    }
    return this.#file;
  }
}

function own(table: Table, key: string): unknown {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
