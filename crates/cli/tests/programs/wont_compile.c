/* Does not compile: the compiler's own message must reach the user. */
int main(void)
{
	return nothing_of_this_name;
}
