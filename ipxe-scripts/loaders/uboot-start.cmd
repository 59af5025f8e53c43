# U-Boot: what its distribution boot fetches as boot.scr.uimg when nothing else boots. Has it look for the machine's own
# configuration, which builds without "pxe" among their boot targets do not do by themselves.
echo "bootgate: looking for this machine's configuration"
pxe get && pxe boot
echo "bootgate: U-Boot found nothing to boot over the network"
