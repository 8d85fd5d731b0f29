/** What a machine's first boot asks whoever sits in front of it. */
import { parseArgument, splitCmdline } from "../../src/formats/cmdline.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { lookUp } from "../../src/model/boot-resources.ts";

const UNIT = "systemd-firstboot.service";
const WANTED = ["usr", "lib", "systemd", "system", "sysinit.target.wants", UNIT];
const MASK = ["etc", "systemd", "system", UNIT];
const OFF: ReadonlySet<string> = new Set(["0", "no", "n", "false", "f", "off"]);

/**
 * Whether systemd-firstboot(1) will ask for locale, time zone and root's password on the console, and wait for the answers.
 * `options`: the kernel's command line.
 */
export function asksAtFirstBoot(tree: Tree, options: string): boolean {
  if (lookUp(tree, WANTED) === undefined || lookUp(tree, MASK) !== undefined) return false;
  return !splitCmdline(options).some((karg) => {
    const { key, value } = parseArgument(karg);
    return key === "systemd.firstboot" && OFF.has((value ?? "").toLowerCase());
  });
}
