/** `cfsboot install grow` */
import { realpathSync } from "node:fs";
import type { Command } from "commander";
import { HintedError } from "../../src/linux/hint.ts";
import { describeError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { jsonOption, Report } from "./report.ts";

const SYSROOT = "/sysroot";
const MIB = 2 ** 20;

export function registerGrow(install: Command): void {
  const command = install
    .command("grow")
    .description("let the root fill its disk; systemd does it at the first boot of a disk image")
    .addOption(jsonOption())
    .action(grow);
  addExamples(command, "cfsboot install grow", "cfsboot install grow --json");
}

async function grow({ json }: { readonly json: boolean }): Promise<void> {
  const { formatByteSize } = await import("../../src/formats/byte-size.ts");
  const { fromText, toText } = await import("../../src/formats/bytestring.ts");
  const { mountAt } = await import("../../src/formats/mountinfo.ts");
  const { ifThere } = await import("../../src/linux/directories.ts");
  const { openWritable } = await import("../../src/linux/writable-mount.ts");
  const { requireRunning } = await import("../deployment/open-host.ts");
  const install = await import("../install/grow.ts");
  const { linux } = await import("../linux.ts");
  const report = new Report({ json, dryRun: false });

  const mount = mountAt(requireRunning(linux).mounts, fromText(SYSROOT));
  const source = mount && toText(mount.source);
  if (!source?.startsWith("/dev/")) throw new Error(`${SYSROOT} is on no device of its own`);
  if (linux.geteuid() !== 0) {
    throw new HintedError("only root may change the disk", "sudo cfsboot install grow");
  }
  const find = () => install.findRootPartition(realpathSync(source), "/sys/class/block");
  const before = find();
  // a mount by which it can be written to
  const sysroot = openWritable(linux, SYSROOT);
  try {
    try {
      if (before !== undefined && install.growPartition(before)) {
        const { disk, number } = before;
        const { size } = find()!;
        report.note([{ do: "grow-partition", disk, number, size }]);
        const rounded = formatByteSize(Math.floor(size / MIB) * MIB);
        report.say([`partition ${number} of ${disk} has ${rounded} now`]);
      }
      const { blocks } = linux.fstatfs(sysroot);
      install.growFileSystem(SYSROOT);
      if (linux.fstatfs(sysroot).blocks > blocks) {
        report.note([{ do: "grow-file-system", path: SYSROOT }]);
      }
    } catch (error) {
      // no reason for a unit to fail, by which a boot may be judged; it is tried again at the next one
      const { message, hints } = describeError(error);
      process.stderr.write(`cfsboot: warning: the root stays as it is: ${message}\n`);
      for (const hint of hints) process.stderr.write(`hint: ${hint}\n`);
      return report.end({});
    }
    const after = find();
    if (after !== undefined && install.isVolumeBehind(after)) {
      report.say(["the encrypted volume gets the rest at the next boot"]);
      return report.end({ rebootRequired: true });
    }
    ifThere(() => linux.unlinkat(sysroot, install.GROW_STAMP, 0));
    report.say(["the root's file system has all of its partition"]);
    return report.end({});
  } finally {
    linux.close(sysroot);
  }
}
