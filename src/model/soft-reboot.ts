/** Soft reboots (systemd-soft-reboot.service(8)): user space begins anew with another deployment, and the kernel goes on. */
import { parseComposefsArguments } from "../formats/cmdline.ts";

/**
 * Whether what runs was come to by a soft reboot: the kernel was told to boot another image. The boot loader has not tried it
 * then.
 */
export function isSoftRebooted(cmdline: string | undefined, running: string): boolean {
  try {
    const images = parseComposefsArguments(cmdline ?? "");
    return images.length > 0 && images.every(({ digest }) => digest !== running);
  } catch {
    return false; // nothing that anything was booted from
  }
}
