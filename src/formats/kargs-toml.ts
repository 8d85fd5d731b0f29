/**
 * `/usr/lib/bootc/kargs.d/*.toml`: kernel arguments that an image brings along.
 *
 *     kargs = ["console=ttyS0", "mitigations=auto,nosmt"]
 *     match-architectures = ["x86_64"]          # absent: all
 *
 * Files count in the order of their names. Another key is an error, so that a misspelled one does not go unnoticed.
 */
import { parse, TomlError } from "smol-toml";
import { splitCmdline } from "./cmdline.ts";

/** The directory in an image. */
export const KARGS_DIRECTORY = "usr/lib/bootc/kargs.d";

export interface KargsFile {
  /** In order; with the quotes that they need on a command line. */
  readonly kargs: readonly string[];
  /** Rust's names: x86_64, aarch64, riscv64, powerpc64, s390x. `undefined`: all. */
  readonly architectures: readonly string[] | undefined;
}

const KEYS = ["kargs", "match-architectures"];

/** By the names that Go, and so OCI, has for architectures. */
const RUST_NAMES: Readonly<Record<string, string>> = {
  "386": "x86",
  amd64: "x86_64",
  arm: "arm",
  arm64: "aarch64",
  loong64: "loongarch64",
  mips64le: "mips64",
  mipsle: "mips",
  ppc64: "powerpc64",
  ppc64le: "powerpc64",
  riscv64: "riscv64",
  s390x: "s390x",
};

/** The name in kargs.d of an architecture that OCI calls `amd64`; an unknown one has the same name. */
export function kargsArchitecture(ociName: string): string {
  return Object.hasOwn(RUST_NAMES, ociName) ? RUST_NAMES[ociName]! : ociName;
}

/** Whether a file of the directory counts. */
export function isKargsFile(name: string): boolean {
  return /[^/]\.toml$/.test(name);
}

/** Reads a file's text. Throws an error that names `file` and the key, or the line. */
export function parseKargsToml(text: string, file: string): KargsFile {
  const fields = parseToml(text, file);
  const unknown = Object.keys(fields).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) {
    throw new Error(`${file}: ${unknown.slice(0, 100)}: expected one of ${KEYS.join(", ")}`);
  }
  const kargs = strings(fields, "kargs", file);
  if (kargs === undefined) throw new Error(`${file}: kargs: expected a list, it is missing`);
  return {
    // an element may hold several, and an argument may even go on in the next: bootc joins them
    kargs: splitCmdline(kargs.join(" ")),
    architectures: strings(fields, "match-architectures", file),
  };
}

/** The arguments of all files that count on an architecture (see `kargsArchitecture`), by the order of their names. */
export function kargsOfFiles(
  files: ReadonlyMap<string, KargsFile>,
  architecture: string,
): readonly string[] {
  return [...files]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .filter(([, { architectures }]) => architectures?.includes(architecture) ?? true)
    .flatMap(([, { kargs }]) => kargs);
}

function strings(
  fields: Readonly<Record<string, unknown>>,
  key: string,
  file: string,
): string[] | undefined {
  const value = Object.hasOwn(fields, key) ? fields[key] : undefined;
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
    throw new Error(`${file}: ${key}: expected a list of strings`);
  }
  return value;
}

function parseToml(text: string, file: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text, { maxDepth: 16 });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [what] = error.message.split("\n");
    throw new Error(
      `${file}, line ${error.line}, column ${error.column}: ${(what ?? "").replace("Invalid TOML document: ", "")}`,
    );
  }
}
