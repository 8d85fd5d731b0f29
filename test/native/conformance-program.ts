/** Runs the cases and prints a line of JSON for each; both providers' programs are this with their own rim. */
import * as K from "../../src/linux/constants.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { CASES } from "./conformance.ts";

export interface Result {
  readonly name: string;
  /** What went wrong; absent where nothing did. */
  readonly error?: string;
}

/**
 * `args`: an empty directory, and `--mounts` to run what needs root, in a mount namespace of its own; or `--execve` and
 * a command line, which takes this program's place.
 */
export function main(linux: Linux, args: readonly string[], print: (line: string) => void): void {
  const [first = "", ...rest] = args;
  if (first === "--execve") linux.execve(rest[0]!, rest, ["GREETING=grüß dich", "EMPTY="]);

  const withMounts = rest.includes("--mounts");
  if (withMounts) {
    linux.unshare(K.CLONE_NEWNS);
    linux.mount("none", "/", null, K.MS_REC | K.MS_PRIVATE, null);
  }
  // Opened only now: a descriptor keeps the mount namespace that it comes from.
  const root = linux.openat(K.AT_FDCWD, first, K.O_PATH | K.O_DIRECTORY | K.O_CLOEXEC);
  for (const [index, { name, needsRoot, run }] of CASES.entries()) {
    if (needsRoot && !withMounts) continue;
    const dirname = `case-${index}`;
    linux.mkdirat(root, dirname, 0o755);
    const dir = linux.openat(root, dirname, K.O_PATH | K.O_DIRECTORY | K.O_CLOEXEC);
    const result: Result = { name };
    try {
      run(linux, dir, `${first}/${dirname}`);
      print(JSON.stringify(result));
    } catch (error) {
      const stack = error instanceof Error ? error.stack : "";
      print(JSON.stringify({ ...result, error: `${error}\n${stack}` }));
    }
    linux.close(dir);
  }
}
