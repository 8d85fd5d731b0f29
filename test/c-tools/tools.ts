/** The program under the names of the C project's tools, as it is shipped. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CTool, Result } from "./c-tools.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const NAMES: readonly CTool[] = ["mkcomposefs", "composefs-info", "mount.composefs"];

export class Tools {
  /** A directory for the test's files, with the links. */
  readonly scratch = mkdtempSync(join(tmpdir(), "cfsboot-tools-"));

  constructor() {
    for (const name of NAMES) symlinkSync(CFSBOOT, join(this.scratch, name));
  }

  /** Runs a tool in `scratch`, which starts with this Node. */
  run(tool: CTool, args: readonly string[], options: { input?: string | Buffer } = {}): Result {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(this.scratch, tool), ...args],
      { cwd: this.scratch, encoding: "latin1", input: "", ...options, maxBuffer: 1 << 28 },
    );
    return { status, stdout, stderr };
  }

  remove(): void {
    rmSync(this.scratch, { recursive: true });
  }
}
