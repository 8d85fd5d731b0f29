/** `cfsboot install mount` */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Command, Option } from "commander";
import type { Loader } from "../deployment/host.ts";
import { addExamples } from "./example.ts";
import { DEPLOYMENT_HELP, withMachine } from "./machine.ts";
import { jsonOption, Report } from "./report.ts";

interface Flags {
  readonly sysroot: string;
  readonly esp?: string;
  readonly loader?: Loader;
  readonly deployment: string;
  readonly readOnly: boolean;
  readonly json: boolean;
}

/** Where an ESP may be mounted, below the physical root. */
const ESP_PLACES = ["efi", "boot/efi", "boot"];

export function registerMount(install: Command): void {
  const command = install
    .command("mount")
    .description("mount a deployment of a disk, as its initramfs does; umount(8) -R ends it")
    .argument("<target>", "the directory to mount it on")
    .requiredOption("--sysroot <directory>", "where the disk's root is mounted")
    .option(
      "--esp <directory>",
      "where its boot partition is (default: efi, boot/efi or boot below that)",
    )
    .addOption(new Option("--loader <name>", "its boot loader").choices(["systemd-boot", "grub"]))
    .option("--deployment <deployment>", DEPLOYMENT_HELP.replace(/^deployment: /, ""), "0")
    .addOption(new Option("--latest", "the default, for those used to bootc").hideHelp())
    .option("--read-only", "nothing below it can be written to", false)
    .addOption(jsonOption())
    .action(mount);
  addExamples(
    command,
    "cfsboot install mount --sysroot /mnt/disk --esp /mnt/esp /mnt/system",
    "cfsboot install mount --sysroot /mnt/disk --read-only --json /mnt/system",
  );
}

async function mount(target: string, flags: Flags): Promise<void> {
  const { mountDeployment } = await import("../install/mount.ts");
  const { observe } = await import("../deployment/observe.ts");
  const { concerned } = await import("./concerned.ts");
  const { findDeployment, understand } = await import("../../src/model/deployments.ts");
  const sysroot = resolve(flags.sysroot);
  const boot = flags.esp ?? findBoot(sysroot);
  const { loader, readOnly, json } = flags;
  const report = new Report({ json, dryRun: false });
  await withMachine({ sysroot, boot: [boot], ...(loader && { loader }) }, "look", (machine) => {
    const { host, repository } = machine;
    const found = understand(observe(host, repository).seen);
    const deployment = findDeployment(found, flags.deployment);
    const { id } = deployment;
    mountDeployment(host, repository, deployment, resolve(target), readOnly);
    report.note([{ do: "mount", id, path: resolve(target), readOnly }]);
    report.say([`Mounted ${id.slice(0, 12)} on ${target}`]);
    return report.end({ deployments: concerned(machine, deployment) });
  });
}

function findBoot(sysroot: string): string {
  const places = ESP_PLACES.map((place) => join(sysroot, place));
  const found = places.find((place) => existsSync(join(place, "loader/entries")));
  if (found !== undefined) return found;
  throw new Error(`no boot entries below ${sysroot}: --esp says where they are`);
}
