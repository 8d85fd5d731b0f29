/** `cfsboot install grow` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";
import { withMachine } from "./machine.ts";

const SYSROOT = "/sysroot";

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
  const { requireRunning } = await import("../deployment/open-host.ts");
  const { realpathSync } = await import("node:fs");
  const install = await import("../install/grow.ts");
  const { linux } = await import("../linux.ts");
  const say = (text: string) => process.stdout.write(`${text}\n`);

  const source = toText(
    mountAt(requireRunning(linux).mounts, fromText(SYSROOT))?.source ?? fromText(""),
  );
  if (!source?.startsWith("/dev/")) throw new Error(`${SYSROOT} is on no device of its own`);
  const find = () => install.findRootPartition(realpathSync(source), "/sys/class/block");
  const before = find();
  await withMachine({}, "change", ({ host }) => {
    if (before !== undefined && install.growPartition(before)) {
      say(`partition ${before.number} of ${before.disk} has ${formatByteSize(find()!.size)} now`);
    }
    install.growFileSystem(SYSROOT);
    const after = find();
    if (after !== undefined && install.isVolumeBehind(after)) {
      say("the encrypted volume gets the rest at the next boot");
      return;
    }
    ifThere(() => host.linux.unlinkat(host.sysroot, install.GROW_STAMP, 0));
    say("the root's file system has all of its partition");
  });
}
