/* The sandbox image's only program: holds a pod's namespaces, as the pause image of every cluster does. */
#include <unistd.h>

int main(void)
{
	for (;;)
		pause();
}
