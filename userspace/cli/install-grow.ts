/** `cfsboot install grow` */
import { realpathSync } from "node:fs";
import type { Command } from "commander";
import { HintedError } from "../../src/linux/hint.ts";
import { describeError } from "./errors.ts";
import { addExamples } from "./example.ts";

const SYSROOT = "/sysroot";
const MIB = 2 ** 20;

export function registerGrow(install: Command): void {
  const command = install
    .command("grow")
    .description("let the root fill its disk; systemd does it at the first boot of a disk image")
    .action(grow);
  addExamples(command, "cfsboot install grow");
}

async function grow(): Promise<void> {
  const { formatByteSize } = await import("../../src/formats/byte-size.ts");
  const { fromText, toText } = await import("../../src/formats/bytestring.ts");
  const { mountAt } = await import("../../src/formats/mountinfo.ts");
  const { ifThere } = await import("../../src/linux/directories.ts");
  const { openWritable } = await import("../../src/linux/writable-mount.ts");
  const { requireRunning } = await import("../deployment/open-host.ts");
  const install = await import("../install/grow.ts");
  const { linux } = await import("../linux.ts");
  const say = (text: string) => process.stdout.write(`${text}\n`);

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
        const size = Math.floor(find()!.size / MIB) * MIB;
        say(`partition ${before.number} of ${before.disk} has ${formatByteSize(size)} now`);
      }
      install.growFileSystem(SYSROOT);
    } catch (error) {
      // no reason for a unit to fail, by which a boot may be judged; it is tried again at the next one
      const { message, hints } = describeError(error);
      process.stderr.write(`cfsboot: warning: the root stays as it is: ${message}\n`);
      for (const hint of hints) process.stderr.write(`hint: ${hint}\n`);
      return;
    }
    const after = find();
    if (after !== undefined && install.isVolumeBehind(after)) {
      say("the encrypted volume gets the rest at the next boot");
      return;
    }
    ifThere(() => linux.unlinkat(sysroot, install.GROW_STAMP, 0));
    say("the root's file system has all of its partition");
  } finally {
    linux.close(sysroot);
  }
}
