/** Builds dist/ once before the tests: they run what is shipped. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

export default function setup(): void {
  const script = fileURLToPath(new URL("../build.mjs", import.meta.url));
  try {
    execFileSync(process.execPath, [script], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    throw new Error(`the build failed\n${(error as { stderr: string }).stderr}`);
  }
}
