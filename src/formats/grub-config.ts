/**
 * GRUB's configuration. It is written once, by an installation, and never again: what changes is the menu, a script of
 * its own beside the entries, and the variables in the environment block.
 */
import { FIRST_DEPLOYMENT } from "./grub-script.ts";

/**
 * Counts the boots of a new deployment: after the menu was read and the environment was loaded, before GRUB chooses.
 * GRUB can neither calculate nor, everywhere, `decrement`, so it goes through the numbers. A counter of a deployment that
 * is not the first of the menu is old, and counts nothing.
 */
export const GRUB_COUNTING = `\
# A new deployment that did not come up so often is left: the entry after it is booted.
if [ -z "\${${FIRST_DEPLOYMENT}}" ]; then
  set ${FIRST_DEPLOYMENT}="\${cfsboot_counted}"
fi
if [ -n "\${boot_counter}" -a "\${boot_success}" = "0" -a "\${cfsboot_counted}" = "\${${FIRST_DEPLOYMENT}}" ]; then
  set cfsboot_less=0
  set cfsboot_left=-1
  for cfsboot_number in 1 2 3 4 5 6 7 8 9; do
    if [ "\${boot_counter}" = "\${cfsboot_number}" ]; then
      set cfsboot_left="\${cfsboot_less}"
    fi
    set cfsboot_less="\${cfsboot_number}"
  done
  set boot_counter="\${cfsboot_left}"
  save_env boot_counter
  if [ "\${boot_counter}" = "-1" ]; then
    set default=1
  fi
fi
`;

/** What it begins with, and others' do not. */
export const GRUB_CONFIG_MARK = "# Made by cfsboot install.";

export interface GrubConfig {
  /** UUID of the file system that GRUB reads: the one with `/boot`. */
  readonly uuid: string;
  /** Whether that is a file system of its own, and not the root. */
  readonly separateBoot: boolean;
  /** How long the menu is shown, in seconds. */
  readonly timeout: number;
  /** Speed of the first serial port, if the menu is to be shown there, too. */
  readonly serial?: number;
}

/** The text of `grub.cfg`. Throws for a UUID that GRUB would not search for. */
export function grubConfig({ uuid, separateBoot, timeout, serial }: GrubConfig): string {
  if (!/^[0-9A-Fa-f-]{4,64}$/.test(uuid)) {
    throw new Error(`file system ${JSON.stringify(uuid)}: expected a UUID`);
  }
  if (!Number.isInteger(timeout) || timeout < 0) {
    throw new Error(`timeout of the boot menu: expected seconds, found ${timeout}`);
  }
  const menu = `(\${root})${separateBoot ? "" : "/boot"}/loader/entries/cfsboot.cfg`;
  return `\
${GRUB_CONFIG_MARK} The menu is in loader/entries/cfsboot.cfg; what is to be added here belongs in custom.cfg.
insmod part_gpt
insmod search_fs_uuid
search --no-floppy --fs-uuid --set=root ${uuid}
if [ -s "\${prefix}/grubenv" ]; then
  load_env boot_counter boot_success cfsboot_counted next_entry
fi
${terminal(serial)}if [ "\${feature_all_video_module}" = "y" ]; then
  insmod all_video
fi
set timeout=${timeout}
set default=0
# if its kernel cannot be loaded
set fallback=1
source "${menu}"
if [ -n "\${next_entry}" ]; then
  # chosen for one boot, by grub-reboot
  set default="\${next_entry}"
  set next_entry=
  save_env next_entry
else
${indented(GRUB_COUNTING)}fi
if [ -f "\${prefix}/custom.cfg" ]; then
  source "\${prefix}/custom.cfg"
fi
`;
}

function terminal(serial: number | undefined): string {
  if (serial === undefined) return "";
  if (!Number.isInteger(serial) || serial <= 0) {
    throw new Error(`serial console of the boot menu: expected a speed, found ${serial}`);
  }
  return `\
insmod serial
serial --unit=0 --speed=${serial}
terminal_input console serial
terminal_output console serial
`;
}

function indented(script: string): string {
  return script.replace(/^(?=.)/gm, "  ");
}
