/**
 * `/usr/lib/bootc/kargs.d/*.toml`: kernel arguments that an image brings along.
 *
 *     kargs = ["console=ttyS0", "mitigations=auto,nosmt"]
 *     match-architectures = ["x86_64"]          # absent: all
 *
 * Files count in the order of their names. Another key is an error, so that a misspelled one does not go unnoticed.
 */
import { splitCmdline } from "./cmdline.ts";
import { parseToml } from "./toml-document.ts";

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
  const table = parseToml(text, file);
  const unknown = table.keys().find((key) => !KEYS.includes(key));
  if (unknown !== undefined) {
    table.fail(unknown.slice(0, 100), `expected one of ${KEYS.join(", ")}`);
  }
  const kargs =
    table.optionalStrings("kargs") ?? table.fail("kargs", "expected a list, it is missing");
  return {
    // an element may hold several, and an argument may even go on in the next: bootc joins them
    kargs: splitCmdline(kargs.join(" ")),
    architectures: table.optionalStrings("match-architectures"),
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
