/** Commands that have another name in bootc, or that are only there. */
import { UsageError } from "./errors.ts";

export type BootcCommand =
  /** Its words here; arguments and options follow. */
  { readonly is: readonly string[] } | { readonly refused: readonly [why: string, hint: string] };

const is = (...words: string[]): BootcCommand => ({ is: words });
const refused = (why: string, hint: string): BootcCommand => ({ refused: [why, hint] });

const PODMAN = "there is no containers-storage of its own: images are in the repository";

/** By its words. Of several that fit, the longest counts. */
export const BOOTC_COMMANDS: Readonly<Record<string, BootcCommand>> = {
  usroverlay: is("usr-overlay"),
  "composefs-finalize-staged": is("finalize-staged"),
  "config-diff": is("etc", "diff"),
  "delete-deployment": is("delete"),
  "internals composefs-gc": is("gc"),
  "internals fsck": is("repo", "fsck"),
  "internals prep-soft-reboot": refused(
    "there are no soft reboots",
    "systemctl reboot boots what is staged",
  ),
  "internals cfs": refused("cfsctl is not in here", "cfsboot repo and cfsboot image do its work"),
  "internals dir-diff": refused(
    "it has other arguments here",
    "cfsboot etc merge --pristine DIR --current DIR --next DIR OUT; cfsboot etc diff",
  ),
  "internals fsverity": refused(
    "the kernel's fs-verity is not reached by a command",
    "cfsboot fsverity digest FILE computes the digest",
  ),
  internals: refused(
    "what bootc's own units and images run is in bootc",
    "an image that has such units has /usr/bin/bootc for them",
  ),
  "install ensure-completion": refused(
    "an installation by ostree cannot be completed",
    "cfsboot install to-filesystem leaves nothing to be done",
  ),
  "install reset": refused(
    "a system does not make itself anew",
    "cfsboot etc diff lists what was changed in /etc; cfsboot install to-disk --wipe, from another system, begins anew",
  ),
  "container compute-composefs-digest-from-storage": refused(
    "the digest is that of an image in a repository",
    "cfsboot image pull containers-storage:IMAGE NAME, then cfsboot image digest --bootable NAME",
  ),
  "container export": refused("no tar archive is made of an image", "podman export does it"),
  "container aboot": refused("there are no images for Android's boot loader", "cfsboot install"),
  "image copy-to-storage": refused(
    "the booted image is not written to a containers-storage",
    "cfsboot image copy NAME oci:DIRECTORY, then podman pull oci:DIRECTORY",
  ),
  "image set-unified": refused(PODMAN, "cfsboot image list shows them"),
  "image pull-from-default-storage": refused(
    PODMAN,
    "cfsboot switch --transport containers-storage IMAGE stages one",
  ),
  "image cmd": refused(PODMAN, "podman image does it for podman's own"),
  "uki-addon": refused("addons of unified kernel images are not handled", "cfsboot karg"),
  "loader-entries": refused(
    "kernel arguments belong to nobody by name",
    "cfsboot karg add, delete and replace change them, and upgrades keep them",
  ),
  state: refused("there is nothing of ostree here", "cfsboot gc removes what nothing needs"),
  "exec-in-host-mount-namespace": refused(
    "nothing is run for others",
    "nsenter --target 1 --mount does it",
  ),
  completion: refused("shells are not told of the commands", "cfsboot --help lists them"),
};

/** A command line in the words of this program. Throws for what is only bootc's. */
export function fromBootc(argv: readonly string[]): readonly string[] {
  const first = argv.findIndex((argument) => !argument.startsWith("-"));
  if (first === -1) return argv;
  for (const length of [2, 1]) {
    const words = argv.slice(first, first + length).join(" ");
    const command = Object.hasOwn(BOOTC_COMMANDS, words) ? BOOTC_COMMANDS[words] : undefined;
    if (command === undefined) continue;
    if ("is" in command) {
      return [...argv.slice(0, first), ...command.is, ...argv.slice(first + length)];
    }
    const [why, hint] = command.refused;
    throw Object.assign(new UsageError(`${words}: ${why}`), { hint });
  }
  return argv;
}
