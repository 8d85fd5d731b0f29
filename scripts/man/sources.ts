/** What the manual is made of, taken from the programs themselves. */

import { run } from "../../initrd/program.ts";
import packageJson from "../../package.json" with { type: "json" };
import type { Linux } from "../../src/linux/linux.ts";
import { loadProgram } from "../../userspace/cli/program.ts";
import { loadTools } from "../../userspace/cli/tools.ts";
import type { Sources } from "./pages.ts";

export { manualPages } from "./pages.ts";

/** All but the prose. */
export async function programSources(): Promise<Omit<Sources, "prose" | "read">> {
  const setupRoot = "composefs-setup-root";
  const tools = (await loadTools()).map(({ name, usage }) => ({
    page: `cfsboot-${name}`,
    section: "1",
    calls: [`cfsboot ${name}`, name],
    usage,
  }));
  return {
    program: await loadProgram([]),
    version: packageJson.version,
    tools,
    programs: [{ page: setupRoot, section: "8", calls: [setupRoot], usage: setupRootUsage() }],
  };
}

function setupRootUsage(): string {
  let usage = "";
  const stdout = (text: string) => {
    usage += text;
  };
  // help needs no system
  run({} as Linux, ["--help"], { stdout, stderr: stdout });
  return usage;
}
