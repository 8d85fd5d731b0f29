/**
 * Makes everything that the boots need before the first one starts: programs, images, repositories, disks. Tests that were
 * named on the command line make what they need themselves.
 */
import { execFileSync } from "node:child_process";
import { ensurePackages } from "../../scripts/packages.mjs";
import { PROJECT } from "./cache.ts";
import { machineDisk } from "./install.ts";
import { deployment, disk } from "./systems.ts";

export async function setup(): Promise<void> {
  ensurePackages(["build", "vm"], (line: string) => console.log(`vm: ${line}`));
  execFileSync(process.execPath, ["build.mjs"], { cwd: PROJECT, stdio: "inherit" });
  if (process.argv.some((argument) => argument.endsWith(".test.ts"))) return;
  const started = Date.now();
  let made = 0;
  const say = (step: string) => {
    made++;
    console.log(`vm: ${Math.round((Date.now() - started) / 1000)} s: ${step}`);
  };
  const sha512 = await deployment("trixie", "sha512", say);
  await disk(sha512, { sealed: true }, say);
  await disk(sha512, { sealed: true, metaJson: false }, say);
  await disk(sha512, { sealed: false }, say);
  await disk(await deployment("trixie", "sha256", say), { sealed: true }, say);
  await disk(await deployment("sid", "sha512", say), { sealed: true }, say);
  if (process.geteuid?.() === 0) {
    for (const loader of ["systemd", "grub"] as const) await machineDisk({ loader }, say);
  }
  if (made > 0) console.log(`vm: ${Math.round((Date.now() - started) / 1000)} s: all is ready`);
}
