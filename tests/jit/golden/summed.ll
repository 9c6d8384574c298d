!0 = !{!"branch_weights", i32 2000, i32 1}
!1 = !{!"branch_weights", i32 1, i32 2000}
define i64 @"summed"(ptr %values, i64 %count) nounwind {
entry:
  %total.1 = alloca i64
  %counter.2 = alloca i64
  store i64 0, ptr %total.1
  store i64 0, ptr %counter.2
  br label %for.3
for.3:
  %.7 = load i64, ptr %counter.2
  %.8 = icmp ult i64 %.7, %count
  br i1 %.8, label %do.4, label %done.6
do.4:
  %.12 = getelementptr [1 x i8], ptr %values, i64 %.7
  %.13 = load i8, ptr %.12, align 1
  %.14 = icmp eq i8 %.13, 0
  br i1 %.14, label %then.9, label %else.10
then.9:
  br label %done.6
else.10:
  %.15 = load i64, ptr %total.1
  %.16 = getelementptr [1 x i8], ptr %values, i64 %.7
  %.17 = load i8, ptr %.16, align 1
  %.18 = zext i8 %.17 to i64
  %.19 = add i64 %.15, %.18
  store i64 %.19, ptr %total.1
  %.20 = load i64, ptr %counter.2
  %.21 = add i64 %.20, 1
  store i64 %.21, ptr %counter.2
  br label %for.3
done.6:
  %.22 = load i64, ptr %total.1
  ret i64 %.22
}
